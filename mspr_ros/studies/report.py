"""Write what a study found: result.json, table.md and plot.png in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure

from mspr_ros.bench.machine import describe_machine
from mspr_ros.evaluation.metrics import json_safe
from mspr_ros.evaluation.plots import STYLE
from mspr_ros.studies.sizes import Sizes
from mspr_ros.studies.study import CellResult, Conclusion, Setting


def write_report(
    question: str,
    name: str,
    setting: Setting,
    results: Sequence[CellResult],
    sizes: Sizes,
    conclusion: Conclusion,
    device: torch.device,
) -> dict[str, Any]:
    """Write the three files, print table and sentence, and give the result.

    Args:
        question: Of the study.
        name: Of the study.
        setting: What was asked for.
        results: Of all cells; frames stay in the cells' own files.
        sizes: What was chosen for them.
        conclusion: What they say.
        device: Where networks were trained.
    """
    from mspr_ros.studies.runner import write_atomically

    result: dict[str, Any] = json_safe(
        {
            "study": name,
            "question": question,
            "sentence": conclusion.sentence,
            "numbers": conclusion.numbers,
            "tables": [
                {"title": table.title, "header": table.header, "rows": table.rows}
                for table in conclusion.tables
            ],
            "setting": {
                "datasets": [str(folder) for folder in setting.datasets] or ["simulator"],
                "seeds": setting.seeds,
                "budget_minutes": setting.budget_minutes,
                "frames": setting.frames,
                "quick": setting.quick,
                "images": sizes.images,
                "options": {key: str(value) for key, value in vars(setting.options).items()},
                "base": setting.base,
            },
            "cells": [
                {"name": cell.name, "images": cell.images, "seconds": cell.seconds}
                for cell in results
            ],
            "minutes": round(sum(cell.seconds for cell in results) / 60.0, 1),
            "machine": describe_machine(device, torch.get_num_threads()),
        }
    )
    write_atomically(setting.output / "result.json", result)
    text = "\n".join(table.markdown() for table in conclusion.tables)
    page = f"# {question}\n\n{conclusion.sentence}\n\n{text}"
    (setting.output / "table.md").write_text(page, encoding="utf-8")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.2), layout="constrained")
        conclusion.draw(figure)
        figure.savefig(setting.output / "plot.png", dpi=100)
    print(f"\n{text}\n{conclusion.sentence}\n\nwritten to {setting.output}")
    return result
