"""What a command is asked to write, looked at before its work and not after it."""

from __future__ import annotations

import os
from pathlib import Path

from mspr_ros.errors import MsprError

PICTURES = (".png", ".svg", ".pdf")


def check_place(path: Path) -> None:
    """Refuse a file or folder that cannot be made where it is wanted.

    Raises:
        MsprError: If the nearest folder above it that exists is a file or may not be written.
    """
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise MsprError(f"{path} cannot be written: {above} is a file; name another place")
    if not path.exists() and not os.access(above, os.W_OK):
        raise MsprError(f"{path} cannot be written: {above} may not; name another place")


def check_file(path: Path, *, overwrite: bool | None = None) -> None:
    """Refuse a file that is there already, or cannot be made.

    Args:
        path: To write.
        overwrite: Whether it may be replaced; None where the command never does.

    Raises:
        MsprError: With the remedy.
    """
    check_place(path)
    if path.is_dir():
        raise MsprError(f"{path} is a folder; name a file")
    if path.exists() and not overwrite:
        remedy = "name another file" + ("" if overwrite is None else " or add --overwrite")
        raise MsprError(f"{path} exists and is not overwritten; {remedy}")


def check_picture(path: Path, *, overwrite: bool | None = None) -> None:
    """Refuse a picture as `check_file` does, or one whose name tells no format.

    Raises:
        MsprError: With the remedy.
    """
    check_file(path, overwrite=overwrite)
    if path.suffix.lower() not in PICTURES:
        raise MsprError(f"{path} must be named *.png (or .svg, .pdf)")
