"""Find the files that are installed beside the package: models, configurations."""

from __future__ import annotations

from pathlib import Path

from mspr_ros.errors import MsprError


def shared_path(relative: str) -> Path:
    """Find a file or folder of the source tree, or of the installed package's share folder.

    Args:
        relative: For instance `models/demo` or `config/fastdds_images.xml`.

    Raises:
        MsprError: If it is in neither place.
    """
    candidates = [Path(__file__).resolve().parents[2] / relative]
    try:
        from ament_index_python.packages import get_package_share_directory

        candidates.append(Path(get_package_share_directory("mspr_ros")) / relative)
    except (ImportError, LookupError, OSError):
        pass  # no ament, no ROS sourced, or not installed there: the source tree remains
    for candidate in candidates:
        if candidate.exists():
            return candidate
    tried = " and ".join(str(candidate) for candidate in candidates)
    raise MsprError(f"{relative} is not installed; looked for {tried}")
