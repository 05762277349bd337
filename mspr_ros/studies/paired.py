"""Compare two ways of training on the same test frames, seed by seed, with an interval.

Two things make a difference uncertain: another seed would have trained another network, and
other test frames would have been other questions. The first is Student's interval of the mean
over seeds of the paired differences, the second the spread of that mean under resampling blocks
of time; half widths add in squares, on the logarithm of the ratio of medians. With one seed
there is no telling what chance did, and the interval says so by being infinite. Where the
question is about one given network, whatever made it, only the test frames are chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from mspr_ros.evaluation.metrics import json_safe
from mspr_ros.geometry import Array

LEVEL = 0.95
TAIL = 0.5 + LEVEL / 2.0
NUM_RESAMPLES = 500
_LEAST = {"position_m": 1e-4, "orientation_deg": 1e-3}
KINDS = {"position_m": "position error", "orientation_deg": "orientation error"}


@dataclass(frozen=True)
class Difference:
    """The ratio of two medians: of a changed network to the one it is compared with.

    Args:
        ratio: Geometric mean over seeds and scenes; below 1 the changed network is better.
        low, high: Interval at `LEVEL`; 0 and inf where one seed tells nothing.
        num_seeds, num_blocks: What it rests on; 0 seeds: one network that was given.
    """

    ratio: float
    low: float
    high: float
    num_seeds: int
    num_blocks: int

    @property
    def is_told(self) -> bool:
        """Whether the interval leaves out 'no difference'."""
        return self.low > 1.0 or self.high < 1.0

    def verdict(self) -> str:
        """Say it in a few words: the ratio, its interval, and what that means."""
        if self.num_seeds == 1:
            return f"{self.ratio:.2f} x (one seed: no telling what is chance)"
        word = "no telling apart"
        if self.is_told:
            word = "worse" if self.ratio > 1.0 else "better"
        return f"{self.ratio:.2f} x [{self.low:.2f}, {self.high:.2f}] ({word})"

    def cell(self) -> str:
        """Give it for a table."""
        if self.num_seeds == 1:
            return f"{self.ratio:.2f} (one seed)"
        mark = "" if self.is_told else " ="
        return f"{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}]{mark}"

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        plain: dict[str, Any] = json_safe({**asdict(self), "told": self.is_told})
        return plain


Frames = Mapping[str, Mapping[str, Sequence[Any]]]  # as measuring.measure_bundle gives them


def paired_ratio(
    changed: Sequence[Frames],
    reference: Sequence[Frames],
    kind: str = "position_m",
    *,
    given: bool = False,
    seed: int = 0,
) -> Difference:
    """Compare cells of the same seeds on the same frames.

    Args:
        changed: `values["frames"]` of one cell a seed.
        reference: Those compared with, in the same order of seeds, of the same frames.
        kind: `position_m` or `orientation_deg`.
        given: Whether the question is about these very networks, not about training.
        seed: Of the resampling.

    Raises:
        ValueError: If seeds, scenes or frames do not match.
    """
    if len(changed) != len(reference) or not changed:
        raise ValueError(f"{len(changed)} cells cannot be paired with {len(reference)}")
    scenes = list(reference[0])
    if any(list(frames) != scenes for frames in (*changed, *reference)):
        raise ValueError("the cells were measured on other scenes")
    pairs = {
        scene: (_errors(changed, scene, kind), _errors(reference, scene, kind)) for scene in scenes
    }
    blocks = {scene: np.asarray(reference[0][scene]["block"]) for scene in scenes}
    by_seed = _log_ratios(pairs, {scene: None for scene in scenes}, _LEAST[kind])
    centre, num_blocks = float(by_seed.mean()), sum(len(np.unique(b)) for b in blocks.values())
    if len(by_seed) < 2 and not given:
        return Difference(math.exp(centre), 0.0, math.inf, 1, num_blocks)
    half = _over_blocks(pairs, blocks, kind, seed)
    if not given:
        spread = float(by_seed.std(ddof=1)) / math.sqrt(len(by_seed))
        half = math.hypot(half, float(stats.t.ppf(TAIL, len(by_seed) - 1)) * spread)
    return Difference(
        math.exp(centre),
        math.exp(centre - half),
        math.exp(min(centre + half, 700.0)),
        0 if given else len(by_seed),
        num_blocks,
    )


def _errors(cells: Sequence[Frames], scene: str, kind: str) -> Array:
    """Give (seeds, frames) errors of one scene."""
    return np.array([frames[scene][kind] for frames in cells], dtype=np.float64)


def _log_ratios(
    pairs: Mapping[str, tuple[Array, Array]], chosen: Mapping[str, Any], least: float
) -> Array:
    """Give (seeds,) logarithms of the ratio of medians, the mean over scenes."""
    rows = []
    for scene, (changed, reference) in pairs.items():
        if changed.shape != reference.shape:
            raise ValueError(f"the cells were measured on other frames of '{scene}'")
        take = slice(None) if chosen[scene] is None else chosen[scene]
        above, below = (
            np.maximum(np.median(errors[:, take], axis=1), least)
            for errors in (changed, reference)
        )
        rows.append(np.log(above / below))
    return np.asarray(np.mean(rows, axis=0))


def _over_blocks(
    pairs: Mapping[str, tuple[Array, Array]], blocks: Mapping[str, Array], kind: str, seed: int
) -> float:
    """Give the half width that comes from the choice of test frames."""
    rng = np.random.default_rng(seed)
    members = {
        scene: [np.flatnonzero(numbers == block) for block in np.unique(numbers)]
        for scene, numbers in blocks.items()
    }
    draws = []
    for _ in range(NUM_RESAMPLES):
        chosen = {
            scene: np.concatenate([those[i] for i in rng.integers(0, len(those), len(those))])
            for scene, those in members.items()
        }
        draws.append(_log_ratios(pairs, chosen, _LEAST[kind]).mean())
    freedom = max(1, sum(len(those) - 1 for those in members.values()))
    return float(stats.t.ppf(TAIL, freedom) * np.std(draws))
