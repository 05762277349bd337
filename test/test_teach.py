"""`mspr teach`: from bags to a bundle and a report, and further places for a bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from bag_support import OPTICAL, Drive, picture, write_bag
from tiny import make_tiny_bundle, make_tiny_dataset
from training_support import make_config

from mspr_ros.bundle import load_bundle, load_metadata
from mspr_ros.cli.main import main
from mspr_ros.config import to_mapping
from mspr_ros.data.augmentation import AugmentationConfig
from mspr_ros.data.dataset import Dataset
from mspr_ros.localizer import Localizer
from mspr_ros.network.grown import GrownRegressor
from mspr_ros.preprocess import PreprocessConfig
from mspr_ros.training.teaching import with_network_of, with_own_network, without_turns

TIMES = [0.1 * index for index in range(60)]


def negative(seconds: float) -> np.ndarray:
    """The same wall, painted otherwise."""
    return 255 - picture(seconds)


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bags")
    write_bag(folder / "hall", Drive(TIMES).events("tf"))
    write_bag(folder / "yard", Drive(TIMES, pictures=negative).events("pose"), "sqlite3")
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training configuration for seconds."""
    pipeline = PreprocessConfig(width=96, height=64, resize_shorter_px=0)
    tiny = make_config(Path("none"), preprocess=pipeline, fit_virtual_camera=True)
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(to_mapping(tiny)))
    return path


def teach(bags: Path, config: Path, output: Path, *words: str) -> int:
    given = [word.format(bags=bags) for word in words]
    quick = ["--config", str(config), "--test-fraction", "0.1", "--device", "cpu"]
    return main(["teach", *quick, *given, "-o", str(output)])


@pytest.fixture(scope="module")
def taught(bags: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that knows the hall."""
    output = tmp_path_factory.mktemp("taught") / "bundle"
    words = ["{bags}/hall", "--scene", "hall", "--pose", f"tf:map->{OPTICAL}"]
    assert teach(bags, config, output, *words, "--map-frame", "ground_floor") == 0
    return output


def work_of(bundle: Path) -> Path:
    return bundle.with_name(bundle.name + ".work")


def pictures() -> list[np.ndarray]:
    return [picture(seconds) for seconds in (0.25, 1.75, 3.15)]


def test_two_scenes_of_bags_become_one_bundle(bags: Path, config: Path, tmp_path: Path) -> None:
    words = ["--scene", "hall={bags}/hall", "--scene", "yard={bags}/yard"]
    words += ["--pose", f"hall=tf:map->{OPTICAL}", "--pose", "yard=/pose"]
    words += ["--map-frame", "yard=outside", "--json", str(tmp_path / "result.json")]
    assert teach(bags, config, tmp_path / "bundle", *words) == 0
    metadata = load_metadata(tmp_path / "bundle")
    assert metadata.scene_names == ("hall", "yard")
    assert [scene.map_frame for scene in metadata.scenes] == ["map", "outside"]
    estimate = Localizer.load(tmp_path / "bundle", device="cpu").localize(picture(1.0))
    assert np.isfinite(estimate.T_map_cam).all()
    result = json.loads((tmp_path / "result.json").read_text())
    measured = {group["name"]: group["network"] for group in result["evaluation"]["groups"]}
    for entry in result["imported"]:
        assert entry["frames"]["test"] == measured[entry["scene"]]["num_frames"] > 0
    page = (work_of(tmp_path / "bundle") / "report.md").read_text()
    assert "| hall |" in page and "| nearest training image |" in page
    assert "guards around test blocks" in page
    assert (work_of(tmp_path / "bundle") / "evaluation" / "errors.png").is_file()


def test_a_bag_of_its_own_is_held_back_whole(bags: Path, config: Path, tmp_path: Path) -> None:
    words = ["{bags}/hall", "--scene", "hall", "--pose", f"tf:map->{OPTICAL}"]
    shutil.copytree(bags / "hall", tmp_path / "sunday")
    words += ["--test-bag", str(tmp_path / "sunday")]
    assert teach(bags, config, tmp_path / "bundle", *words) == 0
    dataset = Dataset.load(work_of(tmp_path / "bundle") / "datasets" / "hall")
    splits = {frame.sequence: frame.split for frame in dataset.frames}
    assert splits == {"hall": "train", "sunday": "test"}


def test_minutes_become_a_number_of_pictures(bags: Path, config: Path, tmp_path: Path) -> None:
    words = ["{bags}/hall", "--scene", "hall", "--pose", f"tf:map->{OPTICAL}"]
    words += ["--minutes", "0.02", "--json", str(tmp_path / "result.json")]
    assert teach(bags, config, tmp_path / "bundle", *words) == 0
    chosen = json.loads((tmp_path / "result.json").read_text())["chosen"]
    assert chosen["images_per_second"] > 0
    expected = max(8, round(1.2 * chosen["images_per_second"]))
    assert chosen["total_images"] == expected


@pytest.mark.parametrize("when", ["import", "training"])
def test_a_stopped_lesson_goes_on(
    bags: Path, config: Path, taught: Path, tmp_path: Path, monkeypatch, capsys, when: str
) -> None:
    words = ["{bags}/hall", "--scene", "hall", "--pose", f"tf:map->{OPTICAL}"]
    words += ["--map-frame", "ground_floor"]

    def stop(*args: object, **settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if when == "import":
            patch.setattr(cv2, "imencode", stop)
        else:
            patch.setattr("mspr_ros.training.trainer.Trainer._finish_epoch", stop)
        assert teach(bags, config, tmp_path / "bundle", *words) == 130
    assert "the same `mspr teach` command goes on" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
    assert teach(bags, config, tmp_path / "bundle", *words, "--minutes", "1") == 1
    assert "was begun with other values of --minutes" in capsys.readouterr().err
    assert teach(bags, config, tmp_path / "bundle", *words) == 0
    whole, resumed = load_bundle(taught), load_bundle(tmp_path / "bundle")
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name


def test_a_further_place_leaves_the_old_answers_alone(
    bags: Path,
    config: Path,
    taught: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["{bags}/yard", "--scene", "yard", "--pose", "/pose", "--add-to", str(taught)]
    words += ["--compare", str(work_of(taught) / "datasets" / "hall")]
    words += ["--json", str(tmp_path / "result.json")]
    assert teach(bags, config, tmp_path / "both", *words) == 0
    before, after = (
        Localizer.load(folder, device="cpu", scene="hall")
        for folder in (taught, tmp_path / "both")
    )
    assert after.metadata.scene_names == ("hall", "yard")
    assert after.metadata.scenes[0] == before.metadata.scenes[0]
    for old, new in zip(
        before.localize_batch(pictures()), after.localize_batch(pictures()), strict=True
    ):
        assert np.array_equal(old.T_map_cam, new.T_map_cam)
        assert old.map_frame == new.map_frame == "ground_floor"
    result = json.loads((tmp_path / "result.json").read_text())
    hall = result["old_scenes"]["hall"]
    assert hall["identical_poses_scene_given"] == hall["frames"] > 0
    assert result["evaluation"]["groups"][0]["name"] == "yard"
    page = (work_of(tmp_path / "both") / "report.md").read_text()
    assert "poses are the very same" in page

    # Old and new can be compared only where the old one was taught.
    words[words.index("yard")] = "attic"
    words[words.index("--compare") + 1] = str(work_of(tmp_path / "both") / "datasets" / "yard")
    assert teach(bags, config, tmp_path / "third", *words[: words.index("--json")]) == 1
    assert "--compare must hold scenes of" in capsys.readouterr().err
    assert not work_of(tmp_path / "third").exists()

    # What was learned of the yard answers for it, by parts of its own.
    network = load_bundle(tmp_path / "both").network
    assert isinstance(network, GrownRegressor) and network.groups == (1, 1)
    alone = Localizer.load(work_of(tmp_path / "both") / "run" / "bundle", device="cpu")
    joined = Localizer.load(tmp_path / "both", device="cpu", scene="yard")
    for image in (negative(0.5), negative(2.5)):
        np.testing.assert_allclose(
            joined.localize(image).T_map_cam, alone.localize(image).T_map_cam, atol=1e-5
        )


def test_nothing_turns_or_zooms_a_camera_that_is_not_there(tmp_path: Path) -> None:
    turned = AugmentationConfig(
        yaw_deg=1.0, pitch_deg=1.0, roll_deg=1.0, focal=0.05, brightness=0.2
    )
    assert without_turns(turned) == AugmentationConfig(brightness=0.2)
    config = make_config(Path("none"), augmentation=turned)
    blind = Dataset.load(make_tiny_dataset(tmp_path / "blind", camera=None))
    fitted, (note,) = with_own_network(config, [blind])
    assert fitted.augmentation == without_turns(turned) and "no intrinsics" in note
    bundle = make_tiny_bundle(tmp_path / "bundle", virtual_camera=None)
    further = with_network_of(config, bundle, load_metadata(bundle))
    assert further.augmentation == without_turns(turned)


CAMERA_POSE = ["--pose", f"tf:map->{OPTICAL}"]


@pytest.fixture(scope="module")
def grown(
    bags: Path, config: Path, taught: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle that was taught the attic after the hall."""
    output = tmp_path_factory.mktemp("grown") / "bundle"
    words = ["{bags}/hall", "--scene", "attic", *CAMERA_POSE, "--test-fraction", "0"]
    assert teach(bags, config, output, *words, "--add-to", str(taught)) == 0
    return output


def test_a_third_place_leaves_both_alone(
    bags: Path, config: Path, grown: Path, tmp_path: Path
) -> None:
    words = ["{bags}/hall", "--scene", "cellar", *CAMERA_POSE, "--test-fraction", "0"]
    assert teach(bags, config, tmp_path / "three", *words, "--add-to", str(grown)) == 0
    assert load_metadata(tmp_path / "three").scene_groups == (1, 1, 1)
    for scene in ("hall", "attic"):
        old, new = (
            Localizer.load(folder, device="cpu", scene=scene)
            for folder in (grown, tmp_path / "three")
        )
        for image in pictures():
            assert np.array_equal(old.localize(image).T_map_cam, new.localize(image).T_map_cam)


def test_rehearsal_makes_one_group_of_all(
    bags: Path, config: Path, taught: Path, grown: Path, tmp_path: Path, capsys
) -> None:
    words = ["{bags}/yard", "--scene", "yard", "--pose", "/pose", "--add-to", str(grown)]
    words += ["--test-fraction", "0", "--rehearse", str(work_of(taught) / "datasets" / "hall")]
    assert teach(bags, config, tmp_path / "all", *words) == 1
    assert "what is not rehearsed is forgotten" in capsys.readouterr().err
    attic = str(work_of(grown) / "datasets" / "attic")
    assert teach(bags, config, tmp_path / "all", *words, attic) == 0
    metadata = load_metadata(tmp_path / "all")
    assert metadata.scene_names == ("hall", "attic", "yard")
    assert metadata.scene_groups == () and metadata.scenes[0].map_frame == "ground_floor"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{bags}/hall", "--pose", "/pose"], "say which with one --scene NAME"),
        (["--scene", "hall", "--pose", "/pose"], "no bags"),
        (["{bags}/hall", "--scene", "hall"], "say where the poses of hall come from"),
        (["{bags}/hall", "--scene", "hall", "--pose", "yard=/pose"], "there is no scene 'yard'"),
        (
            ["--scene", "a b={bags}/hall", "--scene", "a_b={bags}/yard", "--pose", "/pose"],
            "scenes 'a b' and 'a_b' would share the data set folder a_b",
        ),
        (
            ["{bags}/hall", "--scene", "hall", "--pose", "/pose", "--rehearse", "x"],
            "go with --add",
        ),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    bags: Path, config: Path, tmp_path: Path, capsys, words: list[str], said: str
) -> None:
    assert teach(bags, config, tmp_path / "bundle", *words) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
