"""Studies end to end, tiny: they run, can be broken off, go on, and say only what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tiny import make_tiny_dataset
from training_support import make_config

from mspr_ros.cli.main import main as mspr
from mspr_ros.config import to_mapping
from mspr_ros.studies import runner, sizes
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
