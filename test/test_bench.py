"""mspr bench: what it counts is counted rightly, and its file can be compared and drawn."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from tiny import make_tiny_bundle

from mspr_ros.bench.machine import count_flop
from mspr_ros.bench.report import (
    MATRIX_FP32,
    MEMORY,
    compare,
    format_table,
    rates,
    stage_result,
)
from mspr_ros.bench.stages import Stage
from mspr_ros.bench.timing import Timing, time_in_turns
from mspr_ros.cli.bench import choose_stages
from mspr_ros.cli.main import main

CPU = torch.device("cpu")


def test_functions_take_turns_and_the_warm_up_is_not_timed() -> None:
    calls: list[str] = []
    functions = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    timings = time_in_turns(functions, rounds=3, warm_up=2, device=CPU)
    assert calls == ["a", "b"] * 5
    assert [len(timing.wall_s) for timing in timings.values()] == [3, 3]


def test_a_summary_tells_median_spread_and_tail() -> None:
    timing = Timing([s / 1e3 for s in range(1, 102)], [0.5] * 101)
    summary = timing.summary()
    assert summary["median_ms"] == pytest.approx(51.0)
    assert summary["quartiles_ms"] == pytest.approx([26.0, 76.0])
    assert summary["p99_ms"] == pytest.approx(100.0)
    assert summary["cpu_median_ms"] == summary["cpu_p99_ms"] == pytest.approx(500.0)


def test_the_table_keeps_to_one_clock() -> None:
    timings = {"image": Timing([0.010] * 5, [0.111] * 5)}
    machine = {"processor": "p", "threads": 1, "cores": 1, "device": "cpu", "torch": "2"}
    for clock, expected, other in (("processor", "111.00", "10.00"), ("wall", "10.00", "111.00")):
        stage = stage_result(Stage(lambda: None), timings["image"], 1.0, clock, is_paper=False)
        report = {"machine": {**machine, "load_at_start": 0.0}, "clock": clock, "rates": {},
                  "stages": {"image": stage}}  # fmt: skip
        row = format_table(report).splitlines()[-1].split()
        # The median, the upper quartile and the 99th percentile.
        assert row.count(expected) == 3 and other not in row


def test_operations_are_counted_as_multiply_and_add() -> None:
    first, second = torch.ones(3, 5), torch.ones(5, 7)
    assert count_flop(lambda: first @ second) == 2 * 3 * 5 * 7
    images, kernel = torch.ones(2, 3, 8, 8), torch.ones(4, 3, 3, 3)
    convolve = torch.nn.functional.conv2d
    assert count_flop(lambda: convolve(images, kernel, padding=1)) == 2 * 2 * 8 * 8 * 4 * 27


def test_the_products_of_attention_are_counted() -> None:
    tokens = torch.ones(1, 2, 6, 4)  # 2 heads, 6 tokens
    attend = torch.nn.functional.scaled_dot_product_attention
    assert count_flop(lambda: attend(tokens, tokens, tokens)) == 2 * 2 * 2 * 6 * 6 * 4


def test_floor_and_ratios_follow_from_the_machines_rate() -> None:
    timing = Timing([0.1] * 5, [0.2] * 5)
    stage = Stage(lambda: None, images=1, flop=10**9)
    wall = stage_result(stage, timing, gflops=124.0, clock="wall", is_paper=True)
    assert wall["floor_ms"] == pytest.approx(1e3 / 124.0)
    assert wall["times_original"] == pytest.approx(255.0 / 100.0)
    slow = stage_result(stage, timing, gflops=62.0, clock="processor", is_paper=True)
    # Half the rate, twice the time: the same.
    assert slow["times_original"] == pytest.approx(wall["times_original"])
    assert slow["times_floor"] == pytest.approx(wall["times_floor"])
    assert "times_original" not in stage_result(stage, timing, 124.0, "wall", is_paper=False)
    told = rates({MATRIX_FP32: Timing([2 * 1024**3 / 1e11], [1.0])}, "wall")
    assert told == {MATRIX_FP32: pytest.approx(100.0)}


def test_a_comparison_allows_for_another_machine() -> None:
    def report(rate: float, milliseconds: float) -> dict:
        stages = {"network": {"median_ms": milliseconds, "cpu_median_ms": 1.0}}
        return {"clock": "wall", "rates": {MATRIX_FP32: rate}, "stages": stages}

    assert compare(report(200.0, 10.0), report(100.0, 30.0)) == {
        "network": {"plain": pytest.approx(3.0), "at_equal_rate": pytest.approx(1.5)}
    }


def test_the_command_measures_compares_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, first = make_tiny_bundle(tmp_path / "bundle"), tmp_path / "first.json"
    command = ["bench", str(bundle), "--rounds", "2", "--warm-up", "1", "--batch", "2"]
    command += ["--threads", "1", "--device", "cpu", "--json"]
    assert main([*command, str(first)]) == 0
    report = json.loads(first.read_text())
    assert set(report["rates"]) >= {MATRIX_FP32, MEMORY}
    stages = report["stages"]
    for name in ("decode JPEG", "preprocess", "localize, picture to pose", "block: backbone"):
        assert stages[name]["calls"] == 2 and stages[name]["median_ms"] > 0
    blocks = sum(stage["gflop"] for name, stage in stages.items() if name.startswith("block"))
    assert 0.3 < blocks / stages["network torch, batch 1"]["gflop"] < 1.2
    assert stages["network torch, batch 2"]["gflop"] == pytest.approx(
        2 * stages["network torch, batch 1"]["gflop"], rel=0.05
    )
    second, plot = tmp_path / "second.json", tmp_path / "plot.png"
    more = ["--stages", "scenes", "--scenes", "1", "40", "--compare", str(first)]
    assert main([*command, str(second), *more, "--plot", str(plot)]) == 0
    assert "network, 40 scenes" in capsys.readouterr().out
    assert MEMORY in json.loads(second.read_text())["comparison"]
    assert plot.stat().st_size > 5_000
    assert main([*command, str(tmp_path / "x"), "--compare", str(bundle / "bundle.json")]) == 1
    assert "no result of mspr bench" in capsys.readouterr().err


def test_what_cannot_be_done_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(_args: object) -> None:
        raise AssertionError("measured all the same")

    monkeypatch.setattr("mspr_ros.cli.bench.measure", measured)
    without_rate, taken = tmp_path / "without.json", tmp_path / "taken.png"
    without_rate.write_text('{"clock": "wall", "rates": {}, "stages": {}}')
    taken.write_bytes(b"a picture")
    for options, reason in (
        (["--stages", "localize", "live"], "needs a BUNDLE"),
        ([str(tmp_path), "--stages", "live"], "localize to know the network's rate"),
        (["--compare", str(without_rate)], "no result of mspr bench"),
        (["--plot", str(taken)], "not overwritten"),
        (["--plot", str(tmp_path / "plot")], "must be named *.png"),
        (["--plot", str(taken / "plot.png")], "is a file"),
    ):
        assert main(["bench", *options]) == 1
        assert reason in capsys.readouterr().err


def test_the_training_steps_configuration_is_the_packages_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    steps = lambda path, device: asked.append(path) or {}  # noqa: E731
    monkeypatch.setattr("mspr_ros.bench.training_step.training_stages", steps)
    monkeypatch.chdir(tmp_path)
    args = argparse.Namespace(stages=["train"], train_config=None)
    assert choose_stages(args, None, CPU, 1) == {}
    assert [path.is_file() for path in asked] == [True]
