"""What a study consists of: a setting, cells to train and measure, and a conclusion."""

from __future__ import annotations

import argparse
import copy
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mspr_ros.config import from_mapping, set_key
from mspr_ros.naming import distinct_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mspr_ros.training.configuration import TrainConfig

Measure = Callable[[Path], dict[str, Any]]
# Options that say which cells there are, and nothing about any of them.
SELECTING = ("parts", "noises", "most")


@dataclass(frozen=True)
class Setting:
    """What a study was asked to do.

    Args:
        output: Its folder.
        datasets: Dataset folders that were given; none leaves the study to its own.
        base: The training configuration that cells start from, as read from YAML.
        seeds: Each cell is trained with each.
        budget_minutes: For training and measuring all cells.
        frames: Training frames of each simulated place.
        quick: Whether a look at the thing is enough: fewer values of every factor.
        device: As for `mspr train`.
        options: The study's own arguments.
    """

    output: Path
    datasets: tuple[Path, ...]
    base: Mapping[str, Any]
    seeds: tuple[int, ...]
    budget_minutes: float
    frames: int = 400
    quick: bool = False
    device: str = "auto"
    options: argparse.Namespace = field(default_factory=argparse.Namespace)

    def run_folder(self, cell: str) -> Path:
        """Give the folder in which a cell is trained; later ones may start from its bundle."""
        return self.output / "runs" / cell

    def config(
        self, datasets: Sequence[Path], seed: int, changes: Sequence[str] = ()
    ) -> TrainConfig:
        """Give the base configuration for datasets and a seed, with changes `KEY=VALUE`.

        Raises:
            ConfigError: With every problem in it.
        """
        from mspr_ros.training.configuration import TrainConfig

        values = copy.deepcopy(dict(self.base))
        values.update(datasets=[str(folder) for folder in datasets], seed=seed)
        for change in changes:
            set_key(values, change)
        what = f"configuration with {', '.join(changes)}" if changes else "configuration"
        return from_mapping(TrainConfig, values, what)


@dataclass(frozen=True)
class Cell:
    """One network to train and measure, or one thing to measure.

    Args:
        name: Of its files, unique in the study: letters, digits, '.', '_' and '-'.
        factors: What tells it from other cells, besides the seed.
        seed: Of its training.
        measure: Called with the cell's folder, which then holds `bundle`; gives plain values.
        config: What is trained; the runner sets `total_images`. None trains nothing.
        share: Of the pictures that each cell gets; 0.5 trains on half as many. What is trained is
            whole epochs, so give few enough frames for several.
        measured_frames: About how many frames `measure` asks the network about, for the time
            estimate.
    """

    name: str
    factors: Mapping[str, Any]
    seed: int
    measure: Measure
    config: TrainConfig | None = None
    share: float = 1.0
    measured_frames: int = 0


@dataclass(frozen=True)
class CellResult:
    """What is known of a finished cell, as cells/NAME.json holds it.

    Args:
        name, factors, seed: The cell's.
        values: What its `measure` gave.
        images: Pictures it was trained on.
        seconds: That training and measuring took.
    """

    name: str
    factors: dict[str, Any]
    seed: int
    values: dict[str, Any]
    images: int
    seconds: float


@dataclass(frozen=True)
class Table:
    """A table of the report; numbers are given as they are to be read."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        """Lay it out."""
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        body = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        return f"**{self.title}**\n\n{body}" if self.title else body


@dataclass(frozen=True)
class Conclusion:
    """What a study found.

    Args:
        sentence: One sentence: what was found and how sure.
        tables: For table.md.
        draw: Draws the plot.
        numbers: What the sentence rests on, for result.json.
    """

    sentence: str
    tables: list[Table]
    draw: Callable[[Figure], None]
    numbers: dict[str, Any]


def file_name(text: str) -> str:
    """Give a scene's or a value's name as it may stand in a cell's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def file_names(texts: Iterable[str]) -> dict[str, str]:
    """Give the `file_name` of every text, numbered where that of several would be the same."""
    different = list(dict.fromkeys(texts))
    names = distinct_names([file_name(text) for text in different])
    return dict(zip(different, names, strict=True))


def only_scenes(scenes: Sequence[str]) -> str:
    """Give the change of a configuration that trains on these scenes alone."""
    return f"scenes={json.dumps(list(scenes), ensure_ascii=False)}"


class Study(Protocol):
    """A module of this package, see `mspr_ros.studies`."""

    QUESTION: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare options of the study's own."""

    def plan(self, setting: Setting) -> list[Cell]:
        """Say what is to be trained and measured."""

    def conclude(self, setting: Setting, results: list[CellResult]) -> Conclusion:
        """Say what was found."""
