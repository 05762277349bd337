"""Read Cambridge Landmarks as its authors publish it (PoseNet, ICCV 2015).

SCENE/dataset_train.txt, dataset_test.txt   three lines of title, then lines
                                            `seq1/frame00001.png x y z w p q r`
SCENE/seq1/frame00001.png                   the images

x, y, z is the camera centre in the map (metres), w p q r a quaternion wxyz that turns map into
camera coordinates: the label files published with the paper's code were made from these, see
`label_csv`.
"""

from __future__ import annotations

from pathlib import Path

from mspr_ros.data.frame import Frame, name_problem, pose_problem
from mspr_ros.data.label_csv import numbered_sequences, quat_map_cam_xyzw
from mspr_ros.data.recording import (
    CAM_FROM_MAP,
    ImportOptions,
    Recording,
    joined,
    make_frame,
    read_lines,
)
from mspr_ros.errors import DatasetError

_LISTS = {"train": "dataset_train.txt", "test": "dataset_test.txt"}


def read_cambridge(source: Path, options: ImportOptions) -> Recording:
    """Read a scene's folder, or a folder of such folders (scenes in order of their names).

    Raises:
        DatasetError: If there is no scene, or several but one name for them.
    """
    folders = [source] if _is_scene(source) else []
    if not folders and source.is_dir():
        folders = sorted(path for path in source.iterdir() if _is_scene(path))
    if not folders:
        raise DatasetError(
            f"{source} holds no dataset_train.txt or dataset_test.txt, and no folder that does"
        )
    if options.scene and len(folders) > 1:
        raise DatasetError(
            f"{source} holds {len(folders)} scenes, which cannot all be named '{options.scene}'; "
            "import them one by one or leave the name out"
        )
    return joined(
        [
            _read_scene(folder, options.scene or folder.absolute().name, options)
            for folder in folders
        ]
    )


def _is_scene(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _LISTS.values())


def _read_scene(folder: Path, scene: str, options: ImportOptions) -> Recording:
    problems: list[str] = []
    frames: list[Frame] = []
    place_of: dict[str, str] = {}
    if problem := name_problem(scene, ""):
        raise DatasetError(problem)
    for split, name in _LISTS.items():
        path = folder / name
        for line, text in read_lines(path) if path.is_file() else ():
            if not _is_title(text):
                frame = _read_frame(
                    folder, scene, split, text, f"{path}:{line}", place_of, problems
                )
                frames += [frame] if frame else []
    return Recording(
        numbered_sequences(frames, options), (scene,), tuple(problems), synthetic_stamps=True
    )


def _is_title(text: str) -> bool:
    """Tell the lines `Visual Landmark Dataset V1` and `ImageFile, Camera Position [...]`."""
    return text.startswith(("Visual Landmark Dataset", "ImageFile"))


def _read_frame(
    folder: Path,
    scene: str,
    split: str,
    text: str,
    place: str,
    place_of: dict[str, str],
    problems: list[str],
) -> Frame | None:
    """Read one line; none, and the problem told, if it is broken."""
    name, *words = text.split()
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        problems.append(f"{place}: {error}")
        return None
    if len(values) != 7:
        problems.append(f"{place}: expected an image and 7 numbers, got {len(values)} numbers")
        return None
    position, quat_wxyz = values[:3], values[3:]
    first = place_of.setdefault(name, place)
    found = [
        pose_problem(position, quat_wxyz),
        "" if first == place else f"the same image is already at {first}",
        "" if (folder / name).is_file() else f"image {folder / name} does not exist",
    ]
    if any(found):
        problems.append(f"{place}: " + "; ".join(problem for problem in found if problem))
        return None
    sequence = Path(name).parent.as_posix()
    quat = quat_map_cam_xyzw(quat_wxyz, CAM_FROM_MAP)
    return make_frame(scene, split, sequence, 0, folder / name, position, quat)
