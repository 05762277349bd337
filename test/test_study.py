"""Studies end to end, tiny: they run, can be broken off, go on, and say only what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import make_tiny_dataset
from training_support import make_config

from mspr_ros.cli.main import main as mspr
from mspr_ros.config import to_mapping
from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import rotation_angle_rad
from mspr_ros.studies import measuring, noise, places, runner, scenes, sizes
from mspr_ros.studies.study import Setting
from mspr_ros.training import teaching


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give what makes a study tiny: a dataset of small pictures and a small configuration."""
    dataset = make_tiny_dataset(tmp_path / "walks", frames_per_scene=15)
    values = to_mapping(make_config(dataset, epochs=1))
    values["augmentation"] = {}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    # Twenty pictures a second, and nothing else takes time: the sizes do not hang on the machine.
    monkeypatch.setattr(teaching, "measure_rate", lambda *_: (20.0, 24))
    monkeypatch.setattr(sizes, "CELL_SECONDS", 0.0)
    return [str(dataset), "--config", str(path), "--budget", "0.2", "--device", "cpu"]


def test_an_ablation_is_broken_off_and_goes_on(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    command = ["study", "ablation", *arguments, "-o", str(out), "--seeds", "2", "--quick"]
    trained: list[str] = []
    train = runner._train

    def train_few(config: object, run: Path, device: object) -> None:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(run.name)
        train(config, run, device)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "_train", train_few)
    assert mspr(command) == 130
    assert sorted(path.stem for path in (out / "cells").iterdir()) == sorted(trained)
    assert not (out / "result.json").exists()
    before = {path: path.read_bytes() for path in (out / "cells").iterdir()}
    planned = json.loads((out / "plan.json").read_text())["sizes"]

    monkeypatch.setattr(runner, "_train", train)
    assert mspr([*command, "--json", str(tmp_path / "copy.json")]) == 0
    assert all(path.read_bytes() == text for path, text in before.items())
    result = json.loads((out / "result.json").read_text())
    assert result["setting"]["images"] == planned["images"]
    assert len(result["cells"]) == 2 * (2 + 2)
    assert result == json.loads((tmp_path / "copy.json").read_text())
    found = result["numbers"]["contrasts"]
    assert found["base"]["position_m"]["ratio"] == 1.0
    assert found["single"]["position_m"]["num_seeds"] == 2
    assert (out / "plot.png").stat().st_size > 5000
    assert "direct regression" in (out / "table.md").read_text()
    assert not list(out.rglob("*.ckpt"))


def test_label_noise_is_put_on_training_poses_only_and_compared(
    tmp_path: Path, arguments: list[str]
) -> None:
    out = tmp_path / "out"
    command = ["study", "label-noise", *arguments, "-o", str(out), "--seeds", "1", "--quick"]
    assert mspr([*command, "--clusters", "2", "--outliers", "0.5"]) == 0
    result = json.loads((out / "result.json").read_text())
    assert len(result["cells"]) == 2 * 2 * 2
    assert "one seed no telling" in result["sentence"]
    clean = Dataset.load(Path(arguments[0])).select(split="train")
    noisy = Dataset.load(out / "datasets" / "walks_outliers_seed0")
    moved = (clean.positions != noisy.positions).any(axis=1)
    assert 0.3 < moved.mean() <= 0.5 and set(noisy.splits) == {"train"}
    robust = yaml.safe_load(
        (out / "runs" / "outliers-clusters-robust-seed0" / "config.yaml").read_text()
    )
    assert robust["loss"]["robust_position"] == 0.3
    assert robust["datasets"] == [str(noisy.root)]


def test_each_noise_does_what_its_name_says(tmp_path: Path) -> None:
    source = make_tiny_dataset(tmp_path / "walks", ("office",), 40)
    clean = Dataset.load(source).select(split="train")
    errors = {}
    for name, spoil in {
        "gaussian": noise.gaussian(0.3, 10.0),
        "outliers": noise.outliers(0.25),
        "drift": noise.drift(0.6, 15.0),
        "late": noise.time_offset(0.1),
    }.items():
        folder = noise.spoiled_dataset(source, tmp_path / name, spoil, seed=3)
        spoiled = Dataset.load(folder)
        shift = np.linalg.norm(spoiled.positions - clean.positions, axis=1)
        turn = np.degrees(rotation_angle_rad(spoiled.quats_xyzw, clean.quats_xyzw))
        errors[name] = shift, turn
        again = noise.spoiled_dataset(source, tmp_path / f"{name}2", spoil, seed=3)
        np.testing.assert_array_equal(Dataset.load(again).positions, spoiled.positions)
    shift, turn = errors["gaussian"]
    assert np.sqrt(np.mean(shift**2)) == pytest.approx(0.3, rel=0.35)
    assert np.sqrt(np.mean(turn**2)) == pytest.approx(10.0, rel=0.35)
    assert 0.15 <= np.mean(errors["outliers"][0] > 0.0) <= 0.25
    shift, turn = errors["drift"]
    assert shift[0] == 0.0 and shift[-1] == pytest.approx(0.6)
    assert turn[-1] == pytest.approx(15.0) and (np.diff(turn) > 0.0).all()
    # Neighbouring frames are a tenth of a second apart: each has the pose of the next.
    late = Dataset.load(tmp_path / "late")
    np.testing.assert_allclose(late.positions[:-1], clean.positions[1:], atol=1e-6)
    np.testing.assert_allclose(late.quats_xyzw[:-1], clean.quats_xyzw[1:], atol=1e-6)


def test_transfer_measures_gates_and_repairs(tmp_path: Path, arguments: list[str]) -> None:
    dim = make_tiny_dataset(tmp_path / "dim", frames_per_scene=15)
    other = make_tiny_dataset(tmp_path / "garages", ("garage",), 15)
    out = tmp_path / "out"
    command = ["study", "transfer", *arguments, "-o", str(out), "--seeds", "1"]
    command[3:3] = [str(dim), str(other)]
    assert mspr([*command, "--repair-frames", "4"]) == 0
    result = json.loads((out / "result.json").read_text())
    names = [cell["name"] for cell in result["cells"]]
    assert names == ["base-seed0", "repair-dim-0004-seed0", "repair-garages-0004-seed0"]
    gates = result["numbers"]["gates"]
    assert gates["garages"]["broken"] == 1.0 and gates["as trained"]["broken"] < 1.0
    merged = Dataset.load(out / "datasets" / "repair_garages_4")
    assert merged.scenes == ("kitchen", "office", "garage")
    assert [len(merged.select(scene=scene)) for scene in merged.scenes] == [4, 4, 4]
    # What is repaired starts from the base, and knows the new place afterwards.
    config = yaml.safe_load((out / "runs" / names[2] / "config.yaml").read_text())
    assert config["initial_weights"] == str(out / "runs" / "base-seed0" / "bundle")
    cell = runner.read_result(out / "cells" / f"{names[2]}.json")
    assert list(cell.values["conditions"]) == ["same", "garages"]
    assert list(cell.values["conditions"]["garages"]) == ["garage"]


def test_one_network_for_more_and_more_scenes(tmp_path: Path, arguments: list[str]) -> None:
    names = ("hall", "attic")
    more = make_tiny_dataset(tmp_path / "more", names, frames_per_scene=15)
    out = tmp_path / "out"
    command = ["study", "scenes", *arguments, "-o", str(out), "--seeds", "1", "--most", "3"]
    command[3:3] = [str(more)]
    assert mspr(command) == 0
    result = json.loads((out / "result.json").read_text())
    cells = {cell["name"]: cell for cell in result["cells"]}
    singles = [f"single-{name}-seed0" for name in ("kitchen", "office", "hall")]
    assert list(cells) == ["many-02-seed0", "many-03-seed0", *singles]
    # As many pictures of each scene, whole epochs being what they are: none of the attic.
    assert cells["many-02-seed0"]["images"] < cells["many-03-seed0"]["images"]
    assert list(result["numbers"]["counts"]) == ["2", "3"]
    counts = result["numbers"]["counts"]
    assert counts["3"]["parameters"] > counts["2"]["parameters"] > 0
    assert counts["3"]["latency_ms"] > 0.0
    assert "3 scenes in one" in (out / "table.md").read_text()


def test_places_of_the_simulator_are_made_once_and_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SIZE_PX", (48, 36))
    setting = Setting(tmp_path, (), {}, (0,), 1.0, frames=6)
    found = scenes._simulated(setting, scenes.HARD["twins"])
    assert found.scenes == ("corridor", "corridor-twin")
    train = [Dataset.load(folder) for folder in found.train]
    assert [len(one) for one in train] == [6, 6]
    stamps = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.jpg"))]
    assert scenes._simulated(setting, scenes.HARD["twins"]) == found
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.jpg"))] == stamps
    with pytest.raises(DatasetError, match="no frames of split 'test'"):
        measuring.Exam(found.train[0]).load()
