"""The errors that users meet: each is told in one line, with what was expected and the remedy."""

from __future__ import annotations

from collections.abc import Sequence


class MsprError(Exception):
    """Base of all known errors; the command line prints it in one line and exits with 1."""


class ConfigError(MsprError):
    """Report a configuration that is refused, with every problem in it at once."""


class ImageError(MsprError):
    """Report an image or camera that cannot be used (empty, wrong size, unknown encoding)."""


class BundleError(MsprError):
    """Report a bundle folder that is missing, damaged, or of another format version."""


class CheckpointError(MsprError):
    """Report training state or foreign weights that do not fit the network."""


class DatasetError(MsprError):
    """Report data that is refused.

    Args:
        message: What was being read.
        problems: Every problem found, each with its file and line.
    """

    max_listed = 20

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        listed = [f"\n  {problem}" for problem in self.problems[: self.max_listed]]
        hidden = len(self.problems) - len(listed)
        if hidden > 0:
            listed.append(f"\n  ... and {hidden} more")
        super().__init__(message + "".join(listed))
