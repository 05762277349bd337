"""Set up .venv with everything: the package, ROS 2 from wheels, and what the wheels lack.

    python3 bare/install.py             # called by the Makefile
    python3 bare/install.py --missing   # only name the Debian packages that are missing

Runs with any Python 3.10 to 3.14 and its standard library only. Each step leaves a stamp, so that
a second run takes a moment, an interrupted one goes on where it stopped, and a changed requirement
repeats just its own step.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from isolated import describe, without_ros

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "mspr_setup.json"
BUILD = ROOT / ".bare"

OLDEST, NEWEST = (3, 10), (3, 14)
REQUIREMENTS = ("requirements.txt", "bare/requirements.txt", "requirements-dev.txt")
PROBE = "import rclpy, tf2_ros, cv_bridge, tf2_msgs.msg, sensor_msgs.msg, mspr_ros"


class SetupError(Exception):
    """Something is missing that the user can mend; the message says how."""


def main() -> None:
    """Find a Python that fits, then go through the steps that are not done yet."""
    try:
        ensure_python()
        if "--missing" in sys.argv[1:]:
            print(*missing_packages())
            return
        environment, changed = without_ros(os.environ)
        if changed:
            print(describe(os.environ, changed), file=sys.stderr)
        # A virtual environment that happens to be active is none of ours.
        for variable in ("VIRTUAL_ENV", "PYTHONHOME"):
            environment.pop(variable, None)
        with only_one_at_a_time():
            run_steps(environment)
    except SetupError as error:
        sys.exit(f"setup: {error}")
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd[:6]))
        sys.exit(f"setup: `{command} ...` failed with exit status {error.returncode} (see above)")
    except KeyboardInterrupt:
        sys.exit("\nsetup: interrupted; the next `make setup` goes on from here")


# ---- steps ----


def run_steps(environment: dict[str, str]) -> None:
    """Do each step whose inputs changed since it was last done."""
    steps: list[tuple[str, str, str, Callable[[dict[str, str]], None]]] = [
        ("venv", digest(str(ROOT)), "creating .venv", create_venv),
        (
            "wheels",
            digest(*(ROOT / name for name in REQUIREMENTS)),
            "installing PyTorch, ROS 2 and the other wheels (several hundred MB the first time)",
            install_wheels,
        ),
        (
            "tf2_msgs",
            digest(*files_under(ROOT / "bare" / "tf2_msgs")),
            "building tf2_msgs, which the ROS wheels lack (half a minute)",
            build_tf2_msgs,
        ),
        (
            "mspr_ros",
            digest(*(ROOT / name for name in ("setup.py", "setup.cfg", "bare/install.py"))),
            "linking mspr_ros, tf2_ros and cv_bridge into .venv",
            link_packages,
        ),
    ]
    stamps = read_stamps()
    begin = time.monotonic()
    for index, (name, wanted, words, action) in enumerate(steps):
        if stamps.get(name) == wanted:
            continue
        # What follows was built on this step's result.
        stamps = {done: stamps[done] for done, *_ in steps[:index] if done in stamps}
        write_stamps(stamps)
        print(f"setup {index + 1}/{len(steps)}: {words}", flush=True)
        action(environment)
        stamps[name] = wanted
        write_stamps(stamps)
    if time.monotonic() - begin > 1.0:
        print(f"setup: done in {time.monotonic() - begin:.0f} s", flush=True)


def create_venv(environment: dict[str, str]) -> None:
    """Create .venv, unless a whole one of this place is there."""
    check_machine()
    if venv_works(environment):
        return
    run([sys.executable, "-m", "venv", "--clear", VENV], environment)


def install_wheels(environment: dict[str, str]) -> None:
    """Let pip install all requirement files at once, so that they are solved together."""
    command: list[str | Path] = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
    if not sys.stdout.isatty():
        command += ["--quiet", "--progress-bar", "off"]
    for name in REQUIREMENTS:
        command += ["-r", ROOT / name]
    run(command, environment)


def build_tf2_msgs(environment: dict[str, str]) -> None:
    """Build and install the interface package with the generators in the wheels.

    Raises:
        SetupError: It does not build; the end of the build's output is shown.
    """
    build = BUILD / "tf2_msgs"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    # The generators are Python programs: they must find the environment's Python first.
    environment = {**environment, "PATH": f"{PYTHON.parent}{os.pathsep}{environment['PATH']}"}
    configure: list[str | Path] = [
        *("-S", ROOT / "bare" / "tf2_msgs", "-B", build, "-G", "Ninja"),
        *(f"-DCMAKE_PREFIX_PATH={VENV}", f"-DCMAKE_INSTALL_PREFIX={VENV}"),
        *(f"-DPython3_EXECUTABLE={PYTHON}", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF"),
    ]
    log = BUILD / "tf2_msgs.log"
    with log.open("w", encoding="utf-8") as output:
        for arguments in (configure, ["--build", build, "--target", "install"]):
            done = subprocess.run(
                [PYTHON.parent / "cmake", *arguments],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode != 0:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
                raise SetupError(f"tf2_msgs does not build:\n{tail}\nAll of it: {log}")


def link_packages(environment: dict[str, str]) -> None:
    """Make mspr_ros (with its console script) and the stand-ins importable, and try them."""
    purelib = Path(output_of([PYTHON, "-c", PRINT_PURELIB], environment))
    (purelib / "mspr_ros_bare.pth").write_text(f"{ROOT / 'bare' / 'standins'}\n", encoding="utf-8")
    command: list[str | Path] = [PYTHON, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--no-build-isolation", "--editable", ROOT]
    run(command, environment)
    run([PYTHON, "-c", PROBE], environment)


PRINT_PURELIB = "import sysconfig; print(sysconfig.get_paths()['purelib'])"


# ---- what the machine must have ----


def ensure_python() -> None:
    """Go on in a Python that fits, if this one does not.

    Raises:
        SetupError: None is installed.
    """
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if (
            other
            and subprocess.run([other, "-c", ""], capture_output=True, check=False).returncode == 0
        ):
            os.execv(other, [other, *sys.argv])
    raise SetupError(
        f"Python 3.10 to 3.14 is needed, this is {platform.python_version()}. "
        "Install one and name it: make setup PYTHON=python3.12"
    )


def check_machine() -> None:
    """Name everything that only the system's package manager can bring.

    Raises:
        SetupError: With the command that installs what is missing.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError(
            f"ROS 2 comes as wheels for x86-64 Linux only, this is {platform.system()} on "
            f"{platform.machine()}. With ROS 2 installed, build with colcon instead (README.md)."
        )
    missing = missing_packages()
    if missing:
        raise SetupError(
            "some system packages are missing. Install them with\n"
            f"    sudo apt-get install {' '.join(missing)}"
        )


def missing_packages() -> list[str]:
    """List the Debian packages whose absence would stop a later step."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    missing = []
    if shutil.which("cc") is None:
        missing.append("gcc")
    if shutil.which("c++") is None:
        missing.append("g++")
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        missing.append(f"{version}-dev")
    with contextlib.suppress(ImportError):
        import ensurepip
        import venv  # noqa: F401

        if ensurepip.version():
            return missing
    return [*missing, f"{version}-venv"]


def venv_works(environment: dict[str, str]) -> bool:
    """Say whether .venv is a whole environment that was made for this folder."""
    config = VENV / "pyvenv.cfg"
    if not config.exists() or not PYTHON.exists():
        return False
    pip = VENV / "bin" / "pip"
    # Scripts name their Python by its full path: those of a moved checkout no longer start.
    if not pip.exists() or str(VENV) not in pip.read_text(errors="replace").splitlines()[0]:
        return False
    command: list[str | Path] = [PYTHON, "-c", "import pip"]
    return (
        subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    )


# ---- helpers ----


def run(command: list[str | Path], environment: dict[str, str]) -> None:
    """Run a command that says itself what goes wrong."""
    subprocess.run(command, env=environment, check=True)


def output_of(command: list[str | Path], environment: dict[str, str]) -> str:
    """Give what a command prints."""
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def files_under(folder: Path) -> list[Path]:
    """List the files in a folder, always in the same order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digest(*inputs: Path | str) -> str:
    """Hash files (name and content) and texts."""
    result = hashlib.sha256()
    for each in inputs:
        is_file = isinstance(each, Path)
        content = each.read_bytes() if isinstance(each, Path) else each.encode()
        name = each.relative_to(ROOT).as_posix() if isinstance(each, Path) else ""
        result.update(f"{is_file} {name} {len(content)}\n".encode() + content)
    return result.hexdigest()


def read_stamps() -> dict[str, str]:
    """Read which steps are done; an unreadable file means none."""
    try:
        stamps = json.loads(STAMPS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(stamps, dict) and PYTHON.exists()
    return stamps if whole else {}


def write_stamps(stamps: dict[str, str]) -> None:
    """Write which steps are done, in one move: an interruption leaves the old file."""
    if not VENV.exists():
        return
    temporary = STAMPS.with_suffix(".tmp")
    temporary.write_text(json.dumps(stamps, indent=1), encoding="utf-8")
    temporary.replace(STAMPS)


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Hold a lock: `make test` and `make demo` may be started together."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("setup: another setup is running, waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main()
