"""Read COLMAP reconstructions: `colmap_model.py` reads the files, this names scenes and images.

PROJECT/images/...                 the photographs, by the names of the model
PROJECT/sparse/0/cameras.bin, images.bin   (or .txt; also in PROJECT itself or PROJECT/sparse)
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from mspr_ros.data.colmap_model import ColmapImage, model_files, read_model
from mspr_ros.data.frame import Frame
from mspr_ros.data.recording import (
    CAM_FROM_MAP,
    ImportOptions,
    Recording,
    make_frame,
    optical_pose,
    with_synthetic_stamps,
)
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import quat_xyzw_from_wxyz, transform_from_pose

# Folders that lie inside of a project and do not name it.
_INNER_FOLDERS = ("sparse", "model", "colmap")


def read_colmap(source: Path, options: ImportOptions) -> Recording:
    """Read one model: one scene, a sequence for each folder of images, COLMAP's own cameras.

    A reconstruction has no times and no metres: stamps are made up from the images' names, and
    positions are in the model's units times `options.scale`.

    Args:
        source: A folder with a model's files, or a project with such a folder in `sparse/`.
        options: `image_root` names the folder of the images where it is not found beside.

    Raises:
        DatasetError: If there is no model, or several, or a file cannot be read at all.
    """
    folder = _find_model(source)
    files = model_files(folder)
    assert files is not None, "_find_model gives folders with a model"
    project = _project_of(folder)
    root = options.image_root or _find_images(folder, project)
    scene = options.scene or project.name
    model = read_model(*files)
    problems = model.problems
    frames: list[Frame] = []
    left_out: dict[str, int] = {}
    place_of: dict[str, str] = {}
    for image in model.images:
        if image.camera_id in model.refused_cameras:
            reason = f"{scene}: images of a camera that is refused"
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        first = place_of.setdefault(image.name, image.place)
        if first != image.place:
            problems.append(f"{image.place}: image {image.name} is already at {first}")
        elif not options.poses_only and not (root / image.name).is_file():
            problems.append(
                f"{image.place}: image {root / image.name} does not exist (--image-root names the "
                "folder of the images)"
            )
        else:
            frames.append(_frame(image, scene, root, options))
    return Recording(
        with_synthetic_stamps(frames, options.rate_hz),
        (scene,),
        tuple(problems),
        left_out,
        synthetic_stamps=True,
        cameras={
            f"camera{camera_id}": camera
            for camera_id, camera in model.cameras.items()
            if any(frame.camera == f"camera{camera_id}" for frame in frames)
        },
    )


def _frame(image: ColmapImage, scene: str, root: Path, options: ImportOptions) -> Frame:
    quat_xyzw = quat_xyzw_from_wxyz(image.quat_wxyz)
    T_cam_map = transform_from_pose(image.translation, quat_xyzw)
    position, quat = optical_pose(T_cam_map, CAM_FROM_MAP, "optical")
    sequence = PurePosixPath(image.name).parent.as_posix()
    split = options.split or "train"
    return make_frame(
        scene,
        split,
        scene if sequence == "." else sequence,
        0,
        root / image.name,
        position,
        quat,
        camera=f"camera{image.camera_id}",
    )


def _find_model(source: Path) -> Path:
    """Find the one folder with a model in a source."""
    for folder in (source, source / "sparse", source / "colmap" / "sparse"):
        if model_files(folder):
            return folder
        inner = sorted(path for path in folder.glob("*") if path.is_dir() and model_files(path))
        if len(inner) > 1:
            raise DatasetError(
                f"{source} holds {len(inner)} models, each with a map frame of its own "
                f"({', '.join(path.name for path in inner)} in {folder}); import them one by one"
            )
        if inner:
            return inner[0]
    raise DatasetError(
        f"{source} holds no COLMAP model: expected cameras.bin and images.bin, or cameras.txt and "
        "images.txt, there or in sparse/0"
    )


def _project_of(model: Path) -> Path:
    """Give the folder that names the scene: the model's, or the first above not called `0`."""
    folder = model.absolute()
    while (folder.name.isdigit() or folder.name in _INNER_FOLDERS) and folder.parent != folder:
        folder = folder.parent
    return folder


def _find_images(model: Path, project: Path) -> Path:
    """Give the folder of the images where one is called so; else the project itself."""
    folder = model.absolute()
    for candidate in (folder, *folder.parents):
        if (candidate / "images").is_dir():
            return candidate / "images"
        if candidate == project:
            break
    return project
