"""Describe mspr_ros to setuptools: what colcon (ament_python) and pip install, and where."""

import re
from pathlib import Path

from setuptools import find_packages, setup

NAME = "mspr_ros"
ROOT = Path(__file__).resolve().parent
SHARE = Path("share") / NAME

# Folders whose files go below share/mspr_ros/, with their subfolders: what nodes and launch files
# look up at run time.
SHARED_FOLDERS = ("config", "launch", "models")


def version() -> str:
    """Read the version from the package, without importing it (and PyTorch with it)."""
    source = (ROOT / NAME / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert found, "mspr_ros/__init__.py has no __version__"
    return found.group(1)


def data_files() -> list[tuple[str, list[str]]]:
    """List what goes to share/: pairs of a target folder and the files for it."""
    files = [
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE.as_posix(), ["package.xml"]),
    ]
    for top in SHARED_FOLDERS:
        for folder in sorted([ROOT / top, *(ROOT / top).rglob("*")]):
            if not folder.is_dir() or folder.name == "__pycache__":
                continue
            here = folder.relative_to(ROOT)
            inside = sorted(path for path in folder.iterdir() if path.is_file())
            if inside:
                names = [path.relative_to(ROOT).as_posix() for path in inside]
                files.append(((SHARE / here).as_posix(), names))
    return files


setup(
    name=NAME,
    version=version(),
    description="Tell a robot where its camera is, from one image, in any place it was taught",
    author="The mspr_ros maintainers",
    maintainer="The mspr_ros maintainers",
    maintainer_email="maintainers@mspr-ros.example",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    data_files=data_files(),
    python_requires=">=3.10",
    # Everything else comes by rosdep (package.xml) and from requirements.txt.
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"], "export": ["onnx", "onnxruntime", "openvino"]},
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "localizer = mspr_ros.ros.localizer_node:main",
            "camera_sim = mspr_ros.ros.camera_sim_node:main",
            "bag_player = mspr_ros.ros.bag_player_node:main",
            "mspr = mspr_ros.cli.main:main",
        ],
    },
)
