"""The study of clusters and that of the first checks, tiny."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import make_tiny_bundle, make_tiny_dataset
from training_support import make_config

from mspr_ros.cli.main import main as mspr
from mspr_ros.config import to_mapping
from mspr_ros.studies import paired, sizes
from mspr_ros.training import cluster_choice, teaching


def write_config(path: Path, dataset: Path) -> Path:
    values = to_mapping(make_config(dataset, epochs=1))
    values["augmentation"] = {}
    path.write_text(yaml.safe_dump(values))
    return path


def write_labels(path: Path, scene: str) -> Path:
    """Write a winding walk of 400 training poses in the paper's format."""
    time = np.linspace(0.0, 4.0, 400)
    rows = ["scene,split,seq,img_path,t1,t2,t3,q1,q2,q3,q4"]
    for number, t in enumerate(time):
        half = np.sin(61.0 * t)
        place = f"{10 * np.sin(40 * t):.4f},{10 * np.cos(23 * t):.4f},0"
        rows.append(
            f"{scene},train,seq1,{scene}/{number:05d}.png,{place},"
            f"{np.cos(half):.6f},0,{np.sin(half):.6f},0"
        )
    path.write_text("\n".join(rows) + "\n")
    return path


def test_the_rule_is_compared_with_every_fixed_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_choice, "choose_clusters", lambda *_: (2, 1))
    # Sizes that do not depend on how busy the machine is.
    monkeypatch.setattr(teaching, "measure_rate", lambda *_: (20.0, 24))
    monkeypatch.setattr(sizes, "CELL_SECONDS", 0.0)
    monkeypatch.setattr(paired, "NUM_RESAMPLES", 20)
    dataset = make_tiny_dataset(tmp_path / "walks", scenes=("kitchen",), frames_per_scene=15)
    labels = write_labels(tmp_path / "chess.csv", "chess")
    out = tmp_path / "out"
    config = write_config(tmp_path / "tiny.yaml", dataset)
    command = ["study", "clusters", str(dataset), "-o", str(out), "--seeds", "1", "--quick"]
    command += ["--config", str(config), "--budget", "0.2", "--device", "cpu"]
    assert mspr([*command, "--labels", str(labels)]) == 0
    result = json.loads((out / "result.json").read_text())
    names = {cell["name"] for cell in result["cells"]}
    pairs = ("1_1", "4_4", "2_1")
    assert names == {"poses", *(f"kitchen-{pair}-seed0" for pair in pairs)}
    found = result["numbers"]
    assert {line["clusters"] for line in found["lines"] if line["auto"]} == {"2/1"}
    of = {line["clusters"]: line for line in found["lines"]}
    # More clusters quantise more finely.
    assert of["4/4"]["quantised"][0] < of["1/1"]["quantised"][0]
    assert of["4/4"]["quantised"][1] < of["1/1"]["quantised"][1]
    # With one cluster there is none to be told.
    assert of["1/1"]["told"] == pytest.approx(of["1/1"]["error"], rel=1e-3)
    # Against itself there is nothing to compare.
    assert [one["reference"] for one in found["contrasts"]] == ["1/1", "4/4"]
    assert [one["reference"] for one in found["by_place"]["kitchen"]] == ["1/1", "4/4"]
    assert "auto against 4/4" in result["sentence"] and "one seed" in result["sentence"]
    assert found["labels"]["chess"]["positions"] >= 1
    page = (out / "table.md").read_text()
    assert "2/1 (auto)" in page and "the paper's" in page and "1/2" in page
    assert (out / "plot.png").stat().st_size > 5000


def test_poses_alone_train_nothing(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "hall.csv", "KingsCollege")
    out = tmp_path / "out"
    command = ["study", "clusters", "-o", str(out), "--labels", str(labels), "--poses-only"]
    assert mspr([*command, "--device", "cpu"]) == 0
    result = json.loads((out / "result.json").read_text())
    assert [cell["name"] for cell in result["cells"]] == ["poses"]
    assert "nothing was trained" in result["sentence"]
    assert result["tables"][0]["rows"][0][-1] == "4/4"
    assert not (out / "datasets").exists()


def test_first_checks_of_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network with random weights is good at nothing, and the study says so."""
    dataset = make_tiny_dataset(tmp_path / "walks")
    bundle = make_tiny_bundle(tmp_path / "bundle")
    out = tmp_path / "out"
    command = ["study", "first", str(dataset), "-o", str(out), "--bundle", str(bundle)]
    assert mspr([*command, "--device", "cpu", "--checked-frames", "8"]) == 0
    result = json.loads((out / "result.json").read_text())
    (findings,) = result["numbers"]["findings"].values()
    verdicts = {found["check"]: found["warns"] for found in findings}
    assert verdicts["attention, position"] and verdicts["attention, orientation"]
    assert result["numbers"]["warnings"] == sum(verdicts.values()) >= 2
    assert "Nothing is focused on" in capsys.readouterr().out
    assert (out / "plot.png").stat().st_size > 5000
