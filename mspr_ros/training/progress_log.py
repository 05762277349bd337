"""What a run says while it goes: a progress bar, TensorBoard curves and `history.json`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm


class ProgressLog:
    """Show and write a run's progress; silent, it does neither (all processes but the first).

    Args:
        run: The run folder.
        num_steps: Of the whole run.
        done: Steps that an earlier part of the run took.
        in_metres: Whether the position's part of the loss is a mean distance in metres.
        silent: Whether to show and write nothing.
    """

    def __init__(
        self,
        run: Path,
        num_steps: int,
        done: int,
        *,
        in_metres: bool = True,
        silent: bool = False,
    ) -> None:
        self._run = run
        self._position = "{:.3f} m" if in_metres else "x {:.3f}"
        self._silent = silent
        self._writer = None if silent else SummaryWriter(str(run / "tensorboard"))
        self._bar = tqdm(
            total=num_steps, initial=done, unit="step", smoothing=0.05, disable=silent
        )

    def __enter__(self) -> ProgressLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def step(self, epoch: str, losses: dict[str, float]) -> None:
        """Move the bar on by one step and show where the run stands."""
        self._bar.set_postfix_str(
            f"epoch {epoch} {self._position.format(losses['position'])}, "
            f"q {losses['orientation']:.3f}",
            refresh=False,
        )
        self._bar.update()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self._silent:
            self._bar.write(text)

    def epoch(self, step: int, history: list[dict[str, Any]], extra: dict[str, float]) -> None:
        """Write the epoch that is last in the history.

        Args:
            step: Steps of the run so far.
            history: One entry an epoch.
            extra: Further curves by name.
        """
        if self._writer is None:
            return
        entry = history[-1]
        scalars = {f"loss/{name}": value for name, value in entry["losses"].items()}
        for scene, summary in entry.get("validation", {}).get("scenes", {}).items():
            for kind in ("position_error_m", "orientation_error_deg"):
                if summary[kind]["median"] is not None:
                    scalars[f"validation/{scene}/{kind}"] = summary[kind]["median"]
        for name, value in {**scalars, **extra}.items():
            self._writer.add_scalar(name, value, step)
        partial = self._run / "history.json.partial"
        partial.write_text(json.dumps(history, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, self._run / "history.json")
