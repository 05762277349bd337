"""What the looks of several networks at the same frames say, with intervals over frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from scipy import stats

from mspr_ros.evaluation.structures import rank_correlation
from mspr_ros.geometry import Array
from mspr_ros.studies.study import Table

BRANCHES = ("position", "orientation")
METHODS = ("gradients", "attention")
METHOD_TITLES = {"gradients": "integrated gradients", "attention": "attention"}
LEVEL = 0.95

Looks = Mapping[str, Sequence[Mapping[str, Any]]]  # scene -> a record a frame


def find(networks: Sequence[Looks]) -> dict[str, Any]:
    """Summarise the looks of networks at the same frames.

    Every value is a mean over networks first; the interval is Student's over frames, which are
    spread evenly over their recordings.

    Args:
        networks: What `measure_looks` gave for each, in the same order of frames.

    Returns:
        `structures`: scene (or `all`) -> method -> structure -> `position`, `orientation`,
        `untrained position`, `untrained orientation` and `difference` (orientation's minus
        position's), each [mean, low, high]; `branches`: method -> kinds of correlation between
        maps; `deletion`: method -> branch -> ratios; counts.
    """
    scenes = list(networks[0])
    names = {
        scene: list(networks[0][scene][0]["seen"]["gradients"]["position"]) for scene in scenes
    }
    common = [name for name in names[scenes[0]] if all(name in names[s] for s in scenes)]
    structures = {scene: _structures(networks, [scene], names[scene]) for scene in scenes}
    if len(scenes) > 1:
        structures["all"] = _structures(networks, scenes, common)
    return {
        "networks": len(networks),
        "frames": {scene: len(networks[0][scene]) for scene in scenes},
        "structures": structures,
        "branches": {method: _branches(networks, scenes, method) for method in METHODS},
        "deletion": {
            method: {name: _deletion(networks, scenes, method, name) for name in BRANCHES}
            for method in METHODS
        },
    }


def interval(values: Sequence[float]) -> list[float]:
    """Give mean, low and high of values over frames; one frame has no interval."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return [mean, float("nan"), float("nan")]
    factor = stats.t.ppf(0.5 + LEVEL / 2.0, len(array) - 1)
    half = float(factor * array.std(ddof=1) / np.sqrt(len(array)))
    return [mean, mean - half, mean + half]


def _by_frame(
    networks: Sequence[Looks], scenes: Sequence[str], value: Callable[[Mapping[str, Any]], float]
) -> list[float]:
    """Give a value for every frame: its mean over the networks."""
    return [
        float(np.mean([value(looks[scene][number]) for looks in networks]))
        for scene in scenes
        for number in range(len(networks[0][scene]))
    ]


def _structures(
    networks: Sequence[Looks], scenes: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    return {
        method: {name: _structure(networks, scenes, method, name) for name in names}
        for method in METHODS
    }


def _structure(
    networks: Sequence[Looks], scenes: Sequence[str], method: str, structure: str
) -> dict[str, list[float]]:
    """Give the correlations of both branches' maps with a structure."""

    def correlations(kind: str, branch: str) -> list[float]:
        return _by_frame(networks, scenes, lambda look: look[kind][method][branch][structure])

    found = {
        f"{prefix}{branch}": correlations(kind, branch)
        for kind, prefix in (("seen", ""), ("untrained", "untrained "))
        for branch in BRANCHES
    }
    differences = np.subtract(found["orientation"], found["position"]).tolist()
    return {
        **{name: interval(values) for name, values in found.items()},
        "difference": interval(differences),
    }


def _branches(networks: Sequence[Looks], scenes: Sequence[str], method: str) -> dict[str, Any]:
    """Compare the branches' maps with each other, with themselves, and between networks."""
    found: dict[str, Any] = {
        "one network, other branch": interval(
            _by_frame(networks, scenes, lambda look: look["across"][method])
        ),
        "one network, same branch, dimmer light": interval(
            _by_frame(
                networks, scenes, lambda look: np.mean(list(look["retest"][method].values()))
            )
        ),
    }
    if len(networks) < 2:
        return found
    same, other = [], []
    for scene in scenes:
        for number in range(len(networks[0][scene])):
            maps = [_maps(looks[scene][number], method) for looks in networks]
            same.append(_mean_correlation(maps, BRANCHES))
            other.append(_mean_correlation(maps, BRANCHES[::-1]))
    return {
        **found,
        "two networks, same branch": interval(same),
        "two networks, other branch": interval(other),
        "same minus other branch, two networks": interval(np.subtract(same, other).tolist()),
    }


def _maps(look: Mapping[str, Any], method: str) -> dict[str, Array]:
    return {name: np.array(look["maps"][method][name]) for name in BRANCHES}


def _mean_correlation(maps: Sequence[dict[str, Array]], partners: Sequence[str]) -> float:
    """Correlate every branch with a branch of every other network, and average."""
    return float(
        np.mean(
            [
                rank_correlation(first[branch], second[partner])
                for first, second in permutations(maps, 2)
                for branch, partner in zip(BRANCHES, partners, strict=True)
            ]
        )
    )


def _deletion(
    networks: Sequence[Looks], scenes: Sequence[str], method: str, branch: str
) -> dict[str, list[float]]:
    """Give how far answers move, by whose ranking cells are deleted or brought back."""
    other = BRANCHES[1 - BRANCHES.index(branch)]
    own_name, other_name = f"{method}, {branch}", f"{method}, {other}"
    found = {}
    for kind in ("deletion", "insertion"):

        def height(ranking: str, kind: str = kind) -> Array:
            return np.array(
                _by_frame(
                    networks,
                    scenes,
                    lambda look: np.log(max(look["areas"][ranking][branch][kind], 1e-6)),
                )
            )

        own, others, chance = height(own_name), height(other_name), height("chance")
        for name, values in (
            ("own over chance", own - chance),
            ("other branch over chance", others - chance),
            ("own over other branch", own - others),
        ):
            found[f"{kind}, {name}"] = np.exp(interval(values.tolist())).tolist()
    return found


def is_told(found: Sequence[float], neutral: float = 0.0) -> bool:
    """Whether an interval leaves out 'no difference'."""
    return found[1] > neutral or found[2] < neutral


def cell(found: Sequence[float]) -> str:
    """Give a mean and its interval for a table."""
    if np.isnan(found[1]):
        return f"{found[0]:.2f} (one frame)"
    return f"{found[0]:.2f} [{found[1]:.2f}, {found[2]:.2f}]"


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Lay everything out; `*` marks a difference whose interval leaves out none."""
    laid = [_structure_table(found, method) for method in METHODS]
    rows = [
        (METHOD_TITLES[method], kind, cell(values))
        for method in METHODS
        for kind, values in found["branches"][method].items()
    ]
    laid.append(
        Table("Do the branches look at different cells?", ("map", "of", "correlation"), rows)
    )
    deleted = [
        (METHOD_TITLES[method], branch, kind, cell(values) + " *" * is_told(values, 1.0))
        for method in METHODS
        for branch in BRANCHES
        for kind, values in found["deletion"][method][branch].items()
    ]
    header = ("ranking by", "answer", "curve and rankings", "ratio of mean heights")
    laid.append(Table("How far the answer moves as cells go, or come back", header, deleted))
    return laid


def _structure_table(found: Mapping[str, Any], method: str) -> Table:
    kinds = ("position", "orientation", "untrained position", "untrained orientation")
    rows = [
        (
            scene,
            structure,
            *(cell(of[kind]) for kind in kinds),
            cell(of["difference"]) + " *" * is_told(of["difference"]),
        )
        for scene, methods in found["structures"].items()
        for structure, of in methods[method].items()
    ]
    header = ("scene", "structure", *kinds, "orientation minus position")
    return Table(
        f"What is seen, by {METHOD_TITLES[method]}: rank correlation over cells, "
        "given the distance from the middle",
        header,
        rows,
    )


def in_words(found: Mapping[str, Any]) -> str:
    """Say what was found and how sure, in a sentence or two."""
    scene = "all" if "all" in found["structures"] else next(iter(found["structures"]))
    of = found["structures"][scene]["gradients"]
    parts = []
    for structure in ("edges", "corners"):
        values = of[structure]
        verdict = "no telling apart"
        if is_told(values["difference"]):
            more = "orientation" if values["difference"][0] > 0.0 else "position"
            verdict = f"more with {more}"
        parts.append(
            f"{structure} go with {cell(values['position'])} (position) and "
            f"{cell(values['orientation'])} (orientation): {verdict}"
        )
    frames = sum(found["frames"].values())
    branches = found["branches"]["gradients"]
    differ = (
        "whether the branches' cells differ by task cannot be told from one network"
        if "two networks, same branch" not in branches
        else _verdict(branches)
    )
    own = found["deletion"]["gradients"]
    rankings = "; ".join(
        f"{branch}: own ranking moves the answer {cell(ratio)} times as far as the other's"
        for branch in BRANCHES
        for ratio in (own[branch]["deletion, own over other branch"],)
    )
    return (
        f"{found['networks']} networks, {frames} frames, integrated gradients: "
        f"{'; '.join(parts)}; {differ}; deleted by rank, {rankings}."
    )


def _verdict(branches: Mapping[str, Sequence[float]]) -> str:
    difference = branches["same minus other branch, two networks"]
    same, other = branches["two networks, same branch"], branches["two networks, other branch"]
    numbers = f"correlation {cell(same)} with the same, {cell(other)} with the other branch"
    if not is_told(difference):
        return f"between networks a branch is no more like itself than like the other ({numbers})"
    if difference[0] < 0.0:
        return f"between networks a branch is less like itself than like the other ({numbers})"
    return f"between networks a branch is more like itself than like the other ({numbers})"
