"""Train the lines of an ablation and tabulate them: one configuration, one change a line.

    python benchmarks/ablation.py config/train/ablation.yaml benchmarks/ablation.yaml -o OUT

Every line is a `mspr train CONFIG --set KEY=VALUE ...` in a process of its own with one thread;
lines already trained are not trained again, those interrupted are resumed. Writes
`ablation.json` and `ablation.md`. Judged on validation blocks, because the table serves to
choose; with `--split test` on that split, for comparisons that choose nothing.

For lines of one's own at a fixed number of pictures; what the paper claims is compared with
seeds, intervals and a budget by `mspr study ablation` (docs/studies.md).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from mspr_ros.studies.measuring import geometric_mean
from mspr_ros.studies.study import Table


def main() -> None:
    """Read the arguments, train what lacks, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("lines", type=Path, help="YAML: name -> list of KEY=VALUE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train these lines only")
    parser.add_argument("--split", help="judge on this split instead of the validation blocks")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="lines at a time")
    args = parser.parse_args()
    lines: dict[str, list[str]] = yaml.safe_load(args.lines.read_text(encoding="utf-8"))
    wanted = args.only or list(lines)
    args.output.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=args.jobs) as pool:
        for name, error in pool.map(
            lambda name: (name, train_line(args.config, name, lines[name], args.output)), wanted
        ):
            print(f"{name}: {error or 'done'}", flush=True)
    judge = read_split if args.split else read_validation
    if args.split:
        for name in wanted:
            evaluate_line(name, args.split, args.output)
    rows = []
    for name in lines:
        run = folder_of(name, args.output)
        if run.with_suffix(".json").exists() and (medians := judge(run)):
            rows.append(read_line(name, lines[name], run, medians))
    (args.output / "ablation.json").write_text(json.dumps(rows, indent=1) + "\n")
    (args.output / "ablation.md").write_text(table(rows))
    print(table(rows))


def folder_of(name: str, output: Path) -> Path:
    """Give a line's run folder."""
    return output / re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def train_line(config: Path, name: str, changes: list[str], output: Path) -> str:
    """Train a line, unless it is there; give what went wrong, or nothing."""
    run = folder_of(name, output)
    result = run.with_suffix(".json")
    if result.exists():
        return ""
    command = [sys.executable, "-m", "mspr_ros", "train", str(config), "-o", str(run)]
    command += ["--json", str(result), "--device", "cpu"]
    command += ["--resume"] if (run / "last.ckpt").exists() else []
    for change in changes:
        command += ["--set", change]
    start = time.monotonic()
    with run.with_suffix(".log").open("ab") as log:
        code = subprocess.run(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        ).returncode
    if code:
        return f"failed, see {run.with_suffix('.log')}"
    minutes = (time.monotonic() - start) / 60.0
    run.with_suffix(".minutes").write_text(f"{minutes:.1f}\n")
    return ""


def evaluate_line(name: str, split: str, output: Path) -> None:
    """Measure a line's bundle on a split of its own datasets, unless that was done."""
    run = folder_of(name, output)
    result = run.with_suffix(".split.json")
    if result.exists() or not run.with_suffix(".json").exists():
        return
    datasets = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["datasets"]
    command = [sys.executable, "-m", "mspr_ros", "evaluate", str(run / "bundle"), *datasets]
    command += ["--split", split, "--no-baseline", "--json", str(result)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def read_validation(run: Path) -> dict[str, list[float]]:
    """Give the medians (m, deg) by scene on the validation blocks."""
    validation = json.loads(run.with_suffix(".json").read_text())["validation"]
    return {scene: medians_of(summary) for scene, summary in validation["scenes"].items()}


def read_split(run: Path) -> dict[str, list[float]]:
    """Give the medians (m, deg) by scene on the split that was evaluated, if it was."""
    path = run.with_suffix(".split.json")
    groups = json.loads(path.read_text())["groups"] if path.exists() else []
    return {group["name"]: medians_of(group["network"]) for group in groups}


def medians_of(summary: dict[str, Any]) -> list[float]:
    """Give the medians of position (m) and orientation (deg)."""
    return [summary[kind]["median"] for kind in ("position_error_m", "orientation_error_deg")]


def read_line(
    name: str, changes: list[str], run: Path, medians: dict[str, list[float]]
) -> dict[str, Any]:
    """Gather what is known of a trained line."""
    history = json.loads((run / "history.json").read_text())
    return {
        "line": name,
        "changes": changes,
        "medians": medians,
        "training_position": history[-1]["losses"]["position"],
        "training_orientation": history[-1]["losses"]["orientation"],
        "minutes": float(run.with_suffix(".minutes").read_text()),
    }


def overall(row: dict[str, Any]) -> float:
    """Give one number for a line: the geometric mean of all its medians."""
    return geometric_mean([value for medians in row["medians"].values() for value in medians])


def table(rows: list[dict[str, Any]]) -> str:
    """Lay the lines out, each with its geometric mean relative to the first."""
    if not rows:
        return "no line was trained\n"
    scenes = list(rows[0]["medians"])
    header = ("line", *(f"{scene}, m / deg" for scene in scenes), "relative", "minutes")
    lines = []
    for row in rows:
        medians = [f"{row['medians'][s][0]:.3f} / {row['medians'][s][1]:.2f}" for s in scenes]
        relative = f"{overall(row) / overall(rows[0]):.2f}"
        lines.append((row["line"], *medians, relative, f"{row['minutes']:.0f}"))
    return Table("", header, lines).markdown()


if __name__ == "__main__":
    main()
