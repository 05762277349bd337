"""The setup of a machine without ROS 2: what it notices, skips, repeats and recovers from."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BARE = ROOT / "bare"


def load(name):
    """Import a script of bare/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, BARE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def isolated():
    return load("isolated")


@pytest.fixture
def install(monkeypatch, tmp_path):
    """The setup script, working on an empty folder."""
    monkeypatch.syspath_prepend(str(BARE))
    module = load("install")
    root = tmp_path / "checkout"
    for name in (*module.REQUIREMENTS, "setup.py", "setup.cfg", "bare/install.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    (root / "bare" / "tf2_msgs").mkdir()
    (root / "bare" / "tf2_msgs" / "package.xml").write_text("<package/>\n")
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(module, "VENV", root / ".venv")
    monkeypatch.setattr(module, "PYTHON", root / ".venv" / "bin" / "python")
    monkeypatch.setattr(module, "STAMPS", root / ".venv" / "mspr_setup.json")
    monkeypatch.setattr(module, "BUILD", root / ".bare")
    return module


@pytest.fixture
def steps_done(install, monkeypatch):
    """Replace the steps by notes of their names."""
    done = []

    def create_venv(environment):
        install.PYTHON.parent.mkdir(parents=True, exist_ok=True)
        install.PYTHON.touch()
        done.append("venv")

    monkeypatch.setattr(install, "create_venv", create_venv)
    for function, name in [
        ("install_wheels", "wheels"),
        ("build_tf2_msgs", "tf2_msgs"),
        ("link_packages", "mspr_ros"),
    ]:
        monkeypatch.setattr(install, function, lambda _, name=name: done.append(name))
    return done


ALL_STEPS = ["venv", "wheels", "tf2_msgs", "mspr_ros"]


# ---- another ROS in the shell ----

SOURCED = {
    "HOME": "/home/me",
    "ROS_DISTRO": "humble",
    "ROS_VERSION": "2",
    "AMENT_PREFIX_PATH": "/home/me/ws/install/pkg:/opt/ros/humble",
    "PYTHONPATH": "/home/me/ws/install/pkg/lib/python3/site-packages:/home/me/tools",
    "LD_LIBRARY_PATH": "/opt/ros/humble/lib:/usr/local/nvidia/lib64",
    "PATH": "/opt/ros/humble/bin:/usr/bin",
    "CMAKE_PREFIX_PATH": "/opt/ros/humble",
    "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
}


def test_a_sourced_ros_is_taken_out_and_the_rest_stays(isolated):
    clean, changed = isolated.without_ros(SOURCED)
    assert clean == {
        "HOME": "/home/me",
        "PYTHONPATH": "/home/me/tools",
        "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64",
        "PATH": "/usr/bin",
    }
    assert {"ROS_DISTRO", "AMENT_PREFIX_PATH", "PYTHONPATH", "CMAKE_PREFIX_PATH"} <= set(changed)
    assert "humble" in isolated.describe(SOURCED, changed)


def test_a_plain_shell_is_left_as_it_is(isolated):
    plain = {"PATH": "/usr/bin:/opt/rosetta/bin", "ROS_DOMAIN_ID": "7", "PYTHONPATH": ""}
    assert isolated.without_ros(plain) == (plain, [])


def test_a_command_runs_without_the_shells_ros():
    done = subprocess.run(
        [sys.executable, BARE / "isolated.py", "/usr/bin/env"],
        env={**SOURCED, "PATH": f"/opt/ros/humble/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "AMENT_PREFIX_PATH" not in done.stdout
    assert "humble" not in done.stdout
    assert "sourced" in done.stderr


def test_the_exit_status_of_the_command_comes_through():
    command = [sys.executable, BARE / "isolated.py", sys.executable, "-c", "raise SystemExit(3)"]
    assert subprocess.run(command, check=False).returncode == 3


# ---- which steps are done ----


def test_everything_is_done_once(install, steps_done):
    install.run_steps({})
    assert steps_done == ALL_STEPS
    install.run_steps({})
    assert steps_done == ALL_STEPS, "the second time there is nothing to do"


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("requirements-dev.txt", ["wheels", "tf2_msgs", "mspr_ros"]),
        ("bare/tf2_msgs/package.xml", ["tf2_msgs", "mspr_ros"]),
        ("setup.py", ["mspr_ros"]),
    ],
)
def test_a_change_repeats_its_step_and_what_stands_on_it(install, steps_done, changed, again):
    install.run_steps({})
    steps_done.clear()
    (install.ROOT / changed).write_text("changed\n")
    install.run_steps({})
    assert steps_done == again


def test_an_interrupted_setup_goes_on_where_it_stopped(install, steps_done, monkeypatch):
    whole = install.build_tf2_msgs

    def interrupted(environment):
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "build_tf2_msgs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        install.run_steps({})
    assert steps_done == ["venv", "wheels"]
    monkeypatch.setattr(install, "build_tf2_msgs", whole)
    install.run_steps({})
    assert steps_done == ALL_STEPS


@pytest.mark.parametrize("damage", ["no python", "no json", "cut off"])
def test_a_damaged_venv_is_set_up_anew(install, steps_done, damage):
    install.run_steps({})
    steps_done.clear()
    if damage == "no python":
        install.PYTHON.unlink()
    else:
        install.STAMPS.write_text("[]" if damage == "no json" else '{"venv": ')
    install.run_steps({})
    assert steps_done == ALL_STEPS


def test_a_checkout_that_was_moved_is_set_up_anew(install, steps_done, monkeypatch):
    install.run_steps({})
    stamps = json.loads(install.STAMPS.read_text())
    monkeypatch.setattr(install, "ROOT", install.ROOT.rename(install.ROOT.with_name("moved")))
    assert install.digest(str(install.ROOT)) != stamps["venv"]


# ---- what the machine lacks ----


def test_a_missing_compiler_is_named_with_the_command_that_brings_it(install, monkeypatch):
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    with pytest.raises(install.SetupError, match=r"sudo apt-get install gcc g\+\+"):
        install.check_machine()


def test_missing_headers_and_venv_are_named_for_this_python(install, monkeypatch, tmp_path):
    monkeypatch.setattr(install.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    version = f"python3.{sys.version_info.minor}"
    missing = install.missing_packages()
    assert f"{version}-dev" in missing
    assert f"{version}-venv" in missing


def test_another_machine_is_told_to_use_its_own_ros(install, monkeypatch):
    monkeypatch.setattr(install.platform, "machine", lambda: "aarch64")
    with pytest.raises(install.SetupError, match="colcon"):
        install.check_machine()


def test_a_python_that_is_too_old_without_another_is_refused(install, monkeypatch):
    monkeypatch.setattr(install.sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    with pytest.raises(install.SetupError, match=r"Python 3\.10 to 3\.14"):
        install.ensure_python()


def test_a_half_created_venv_is_not_taken_for_a_whole_one(install):
    assert not install.venv_works({})
    install.PYTHON.parent.mkdir(parents=True)
    install.PYTHON.symlink_to(sys.executable)
    (install.VENV / "pyvenv.cfg").write_text("home = /usr/bin\n")
    assert not install.venv_works({}), "it has no pip yet"
    (install.VENV / "bin" / "pip").write_text("#!/elsewhere/.venv/bin/python\n")
    assert not install.venv_works({}), "it was made for another folder"


def test_a_build_that_fails_shows_why(install, monkeypatch):
    cmake = install.PYTHON.parent / "cmake"
    cmake.parent.mkdir(parents=True)
    cmake.write_text("#!/bin/sh\necho no compiler works here\nexit 1\n")
    cmake.chmod(0o755)
    with pytest.raises(install.SetupError, match="no compiler works here"):
        install.build_tf2_msgs({"PATH": os.environ["PATH"]})
