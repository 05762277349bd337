"""The unfinished folder of an import: kept when it is interrupted, and gone on with by the next.

Beside DATASET lies `.DATASET.partial` with the images so far, `import.json` (which import this is)
and `images.jsonl`, a line for each image dealt with. It takes the name DATASET when all is done.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mspr_ros.errors import DatasetError, MsprError

_KEY_FILE, _JOURNAL_FILE, _LOCK_FILE = "import.json", "images.jsonl", "lock"


@dataclass(frozen=True)
class ImageFile:
    """An image that was written.

    Args:
        path: Relative to the folder.
        num_bytes: Its size; a file of another one was not written to its end.
        frame_id: The optical frame it named.
        width, height: In pixels.
    """

    path: str
    num_bytes: int
    frame_id: str
    width: int
    height: int


class PartialImport:
    """Remember what became of each image of each bag: a file, or why there is none.

    Args:
        folder: The unfinished folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._journal = folder / _JOURNAL_FILE
        self._known: dict[tuple[int, int], ImageFile | str] = {}
        if self._journal.is_file():
            self._read()

    def _read(self) -> None:
        for line in self._journal.read_text(encoding="utf-8").splitlines():
            try:
                bag, ordinal, outcome = json.loads(line)
            except ValueError:
                continue  # the line that was being written
            if isinstance(outcome, dict):
                outcome = ImageFile(**outcome)
                file = self.folder / outcome.path
                if not file.is_file() or file.stat().st_size != outcome.num_bytes:
                    continue
            self._known[bag, ordinal] = outcome
        # Anew, so that half a last line does not swallow the next one.
        self._journal.write_text("".join(map(_line, self._known.items())), encoding="utf-8")

    def of_bag(self, bag: int) -> dict[int, ImageFile | str]:
        """Give what is known of the images of the bag of this number, by their ordinals."""
        return {ordinal: what for (number, ordinal), what in self._known.items() if number == bag}

    def note(self, bag: int, ordinal: int, outcome: ImageFile | str) -> None:
        """Write down what became of an image, after its file."""
        self._known[bag, ordinal] = outcome
        with open(self._journal, "a", encoding="utf-8") as file:
            file.write(_line(((bag, ordinal), outcome)))

    def finish(self) -> None:
        """Take away what only an unfinished folder has."""
        for name in (_KEY_FILE, _JOURNAL_FILE, _LOCK_FILE):
            (self.folder / name).unlink(missing_ok=True)


def _line(item: tuple[tuple[int, int], ImageFile | str]) -> str:
    (bag, ordinal), outcome = item
    values = asdict(outcome) if isinstance(outcome, ImageFile) else outcome
    return json.dumps([bag, ordinal, values]) + "\n"


@contextlib.contextmanager
def partial_import(output: Path, key: Mapping[str, Any]) -> Iterator[PartialImport]:
    """Open the unfinished folder of an import; it takes its name if nothing is raised.

    An interruption, a crash or a full disk leave it for the next run; other errors, which would
    only come again, remove it.

    Args:
        output: The dataset folder to make.
        key: Says which import this is; an unfinished one of another key is thrown away.

    Raises:
        DatasetError: If the output exists or cannot be written, or another process writes it.
    """
    output = Path(os.path.abspath(output))
    if os.path.lexists(output):
        raise DatasetError(f"{output} exists and is not overwritten; remove it or name another")
    folder = output.with_name(f".{output.name}.partial")
    text = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / _LOCK_FILE):
            _clear_if_other(folder, text)
            partial = PartialImport(folder)
            yield partial
            partial.finish()
            folder.rename(output)
    except BusyError:
        raise
    except MsprError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DatasetError):
            problems = error.problems or [str(error)]
            raise DatasetError(f"{output} is not written:", problems) from None
        raise
    except OSError as error:
        raise DatasetError(
            f"cannot write {output}: {error.strerror or error}; what is written stays in "
            f"{folder}, and the same command goes on from there"
        ) from error


class BusyError(DatasetError):
    """Report a folder that another process is writing."""


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another process is importing into {path.parent}") from None
        yield


def _clear_if_other(folder: Path, key: str) -> None:
    """Empty the folder, all but the lock, unless it is the same import's."""
    key_file = folder / _KEY_FILE
    if key_file.is_file() and key_file.read_text(encoding="utf-8") == key:
        return
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK_FILE:
            path.unlink()
    key_file.write_text(key, encoding="utf-8")
