"""Names that people give: told apart where they are the same, and drawn as they are."""

from __future__ import annotations

from collections.abc import Sequence


def distinct_names(names: Sequence[str]) -> list[str]:
    """Number names that occur again: `room, room` becomes `room, room-2`."""
    found: list[str] = []
    for base in names:
        name, number = base, 2
        while name in found:
            name, number = f"{base}-{number}", number + 1
        found.append(name)
    return found


def as_label(name: str) -> str:
    """Give the name of a scene, a bundle or a bag as matplotlib draws it.

    Text between two `$` would be a formula, and what begins with `_` is left out of legends.
    """
    shown = name.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
