"""setup.py, package.xml and the requirement files describe the tree that is there."""

from __future__ import annotations

import ast
import configparser
import re
import runpy
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXECUTABLES = {"localizer", "camera_sim", "bag_player", "mspr"}
# Imported name -> what brings it, where the two differ.
DISTRIBUTIONS = {
    "backports": "backports.zstd",
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}
# Imported only where the standard library has them, which that of this Python may not.
NEWER_STANDARD_LIBRARY = {"compression"}
# Imported name -> ROS package, where the two differ.
ROS_PACKAGES = {"tf2_ros": "tf2_ros_py"}


@pytest.fixture(scope="module")
def setup_arguments():
    """What setup.py hands to setuptools."""
    import setuptools

    caught = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", caught.update)
        patch.chdir(ROOT)
        runpy.run_path(str(ROOT / "setup.py"))
    return caught


@pytest.fixture(scope="module")
def manifest():
    return ElementTree.parse(ROOT / "package.xml").getroot()


def imported_names():
    """Give (file, top-level name) for every absolute import in the package."""
    for path in sorted((ROOT / "mspr_ros").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield path, node.module.split(".")[0]


def declared_requirements():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = (re.match(r"[A-Za-z0-9_.-]+", line) for line in lines)
    return {name.group().lower().replace("_", "-") for name in names if name}


def test_name_and_version_are_the_same_everywhere(setup_arguments, manifest):
    import mspr_ros

    assert manifest.findtext("name") == setup_arguments["name"] == "mspr_ros"
    assert manifest.findtext("version") == setup_arguments["version"] == mspr_ros.__version__
    assert manifest.findtext("license") == setup_arguments["license"]


def test_ament_knows_the_package(setup_arguments, manifest):
    assert manifest.get("format") == "3"
    assert manifest.findtext("export/build_type") == "ament_python"
    targets = dict(setup_arguments["data_files"])
    assert targets["share/ament_index/resource_index/packages"] == ["resource/mspr_ros"]
    assert "package.xml" in targets["share/mspr_ros"]


def test_executables_go_where_ros2_run_looks_for_them():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["install"]["install_scripts"] == "$base/lib/mspr_ros"
    assert config["develop"]["script_dir"] == "$base/lib/mspr_ros"


def test_every_executable_names_a_function_that_exists(setup_arguments):
    scripts = dict(
        re.split(r"\s*=\s*", line) for line in setup_arguments["entry_points"]["console_scripts"]
    )
    assert set(scripts) == EXECUTABLES
    for name, target in scripts.items():
        module, function = target.split(":")
        path = ROOT / (module.replace(".", "/") + ".py")
        assert path.exists(), f"{name}: {module} does not exist"
        definitions = ast.parse(path.read_text(encoding="utf-8")).body
        functions = {node.name for node in definitions if isinstance(node, ast.FunctionDef)}
        assert function in functions, f"{name}: {module} has no {function}()"


def test_every_python_package_is_installed(setup_arguments):
    folders = {path.parent for path in (ROOT / "mspr_ros").rglob("*.py")}
    names = {folder.relative_to(ROOT).as_posix().replace("/", ".") for folder in folders}
    assert set(setup_arguments["packages"]) == names


@pytest.mark.parametrize("folder", ["launch", "config", "models"])
def test_every_shared_file_is_installed_below_the_same_name(setup_arguments, folder):
    installed = {
        f"{target}/{Path(name).name}": name
        for target, names in setup_arguments["data_files"]
        for name in names
    }
    here = [
        path
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert here, f"{folder}/ is empty"
    for path in here:
        name = path.relative_to(ROOT).as_posix()
        assert installed.get(f"share/mspr_ros/{name}") == name


def test_every_import_is_declared(manifest, setup_arguments):
    declared = {element.text for element in manifest if element.tag.endswith("depend")}
    # The export's packages are imported only where they are used, with a word where they lack.
    requirements = declared_requirements() | set(setup_arguments["extras_require"]["export"])
    missing = set()
    for path, name in imported_names():
        if name in (sys.stdlib_module_names | NEWER_STANDARD_LIBRARY | {"mspr_ros"}):
            continue
        distribution = DISTRIBUTIONS.get(name, name).lower().replace("_", "-")
        if ROS_PACKAGES.get(name, name) not in declared and distribution not in requirements:
            missing.add(f"{name} ({path.relative_to(ROOT)})")
    assert not missing, "declare them in package.xml or requirements.txt"


def test_what_setup_reads_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "bare/install.py" in makefile
    for name in ("requirements.txt", "bare/requirements.txt", "requirements-dev.txt"):
        assert (ROOT / name).is_file()
