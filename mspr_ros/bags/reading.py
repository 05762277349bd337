"""Read ROS 2 and ROS 1 bags, whole ones and what is left of broken ones."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw
import yaml
from rosbags import rosbag1, rosbag2
from rosbags.typesys import TypesysError

from mspr_ros.bags.salvage import BROKEN, Record, salvage, unpack_file, unpacked_message
from mspr_ros.bags.types import TYPES, TYPES_ROS1
from mspr_ros.data.recording import natural_key
from mspr_ros.errors import DatasetError

# What the rosbags library lets through where a bag is damaged.
DAMAGED = (rosbag1.ReaderError, rosbag2.ReaderError, AssertionError, apsw.Error, *BROKEN)
STORAGE_FILE = re.compile(r"\.(mcap|db3)(\.zstd)?$")


@dataclass(frozen=True)
class BagTopic:
    """A topic of a bag: its name, its type such as `sensor_msgs/msg/Image`, its messages."""

    name: str
    type_name: str
    count: int


@dataclass(frozen=True)
class BagMessage:
    """One recorded message, as serialized bytes.

    Args:
        topic: Its topic.
        type_name: Its type.
        recorded_ns: When it was recorded.
        data: The bytes (CDR; ROS 1's own form where `is_ros1`).
        is_ros1: Whether it comes from a ROS 1 bag.
    """

    topic: str
    type_name: str
    recorded_ns: int
    data: bytes
    is_ros1: bool = False

    def deserialize(self) -> Any:
        """Give the message as an object of the rosbags library.

        Raises:
            DatasetError: If the bytes are not a message of that type.
        """
        try:
            if self.is_ros1:
                return TYPES_ROS1.deserialize_ros1(self.data, self.type_name)
            return TYPES.deserialize_cdr(self.data, self.type_name)
        except (TypesysError, *DAMAGED) as error:
            raise DatasetError(
                f"a message on {self.topic} cannot be read as {self.type_name}: {_line(error)}"
            ) from None


class Bag:
    """Read a bag; use it in a `with` statement.

    Args:
        path: A ROS 2 bag's folder or single `.mcap` or `.db3` file, or a ROS 1 `.bag` file.
        tolerant: Read the good part of a broken bag, and say in `damage` what is wrong with it;
            else a broken bag is an error.

    Raises:
        DatasetError: If it is no readable bag.
    """

    def __init__(self, path: Path | str, tolerant: bool = False) -> None:
        self.path = Path(path)
        self.damage = ""
        self._tolerant = tolerant
        self._stack = ExitStack()
        self._reader: rosbag1.Reader | rosbag2.Reader | None = None
        self._parts: list[Path] = []  # files of a broken bag, in order
        self._salvaged: Counter[tuple[str, str]] = Counter()
        self._times_ns = (0, 0)
        self.is_ros1 = self.path.suffix == ".bag" or self.path.name.endswith(".bag.active")
        if not self.path.exists():
            raise DatasetError(f"{path} does not exist")

    def __enter__(self) -> Bag:
        try:
            reader = rosbag1.Reader(self.path) if self.is_ros1 else rosbag2.Reader(self.path)
            reader.open()
            self._stack.callback(reader.close)
            self._reader = reader
        except DAMAGED as error:
            if not self._tolerant:
                kind = "ROS 1" if self.is_ros1 else "ROS 2"
                raise DatasetError(
                    f"{self.path} is not a readable {kind} bag: {_line(error)}"
                ) from None
            self._open_parts(_line(error))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader = None
        self._stack.close()

    def _open_parts(self, reason: str) -> None:
        """Find the files of a broken bag and what is readable in them."""
        files = [self.path]
        if self.path.is_dir():
            found = [file for file in self.path.iterdir() if STORAGE_FILE.search(file.name)]
            files = sorted(found, key=lambda file: natural_key(file.name))
        if any(file.suffix == ".zstd" for file in files):
            unpacked = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            files = [unpack_file(f, unpacked) if f.suffix == ".zstd" else f for f in files]
        self._parts = files
        first, last = 2**63 - 1, 0
        for record in self._salvaged_records(None):
            self._salvaged[record.topic, record.type_name] += 1
            first, last = min(first, record.recorded_ns), max(last, record.recorded_ns)
        count = sum(self._salvaged.values())
        if not count:
            self._stack.close()
            raise DatasetError(
                f"{self.path} is not a readable bag and nothing in it can be saved: {reason}"
            )
        self._times_ns = (first, last)
        self.damage = f"the bag is broken ({reason}); {count} messages could be read"

    def _salvaged_records(self, topics: Collection[str] | None) -> Iterator[Record]:
        for file in self._parts:
            for record in salvage(file):
                if topics is None or record.topic in topics:
                    yield record

    @property
    def topics(self) -> tuple[BagTopic, ...]:
        """What the bag holds, by name."""
        if self._reader is None:
            return tuple(BagTopic(*key, count) for key, count in sorted(self._salvaged.items()))
        return tuple(
            BagTopic(name, info.msgtype or "", info.msgcount)
            for name, info in sorted(self._reader.topics.items())
        )

    @property
    def start_ns(self) -> int:
        """When the first message was recorded."""
        return self._times_ns[0] if self._reader is None else int(self._reader.start_time)

    @property
    def custom_data(self) -> Mapping[str, str]:
        """Key-value text written into the bag's metadata."""
        metadata = self.path / "metadata.yaml"
        if not metadata.is_file():
            return {}  # a single .mcap or .db3 file
        values = yaml.safe_load(metadata.read_text(encoding="utf-8"))
        return dict(values["rosbag2_bagfile_information"].get("custom_data") or {})

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None
    ) -> Iterator[BagMessage]:
        """Give the messages in the order of recording.

        Args:
            topics: Only these; None for all.
            start_ns: Only from this time of recording on.

        Raises:
            DatasetError: If the bag is damaged; a tolerant one ends there and says so in
                `damage`.
        """
        if self._reader is None:
            for record in self._salvaged_records(topics):
                if start_ns is None or record.recorded_ns >= start_ns:
                    data = record.data if self.is_ros1 else unpacked_message(record.data)
                    yield BagMessage(*record[:3], data, self.is_ros1)
            return
        connections: list[Any] = [
            c for c in self._reader.connections if topics is None or c.topic in topics
        ]
        if not connections:
            return
        try:
            for connection, recorded_ns, data in self._reader.messages(connections, start_ns):
                where = (connection.topic, connection.msgtype, recorded_ns)
                yield BagMessage(*where, bytes(data), self.is_ros1)
        except DAMAGED as error:
            if not self._tolerant:
                raise DatasetError(f"{self.path} is damaged: {_line(error)}") from None
            self.damage = f"the bag is damaged ({_line(error)}); it was read up to there"


def _line(error: BaseException) -> str:
    """Give an error's text as one line."""
    words = " ".join(str(error).split())
    return words or type(error).__name__


def find_topic(topics: Sequence[BagTopic], type_names: Collection[str], wanted: str = "") -> str:
    """Find the one topic of some types in a bag.

    Args:
        topics: The bag's.
        type_names: Types that fit.
        wanted: The user's choice; empty to find it.

    Raises:
        DatasetError: If there is none, or several and no choice.
    """
    fitting = [topic.name for topic in topics if topic.type_name in type_names and topic.count]
    names = ", ".join(fitting) or "none"
    kinds = " or ".join(sorted(type_names))
    if wanted:
        if wanted not in fitting:
            actual = [topic.type_name for topic in topics if topic.name == wanted]
            but = f" ({wanted} is {actual[0] or 'of several types'})" if actual else ""
            raise DatasetError(
                f"the bag has no topic {wanted} of type {kinds}{but}; it has: {names}"
            )
        return wanted
    if len(fitting) != 1:
        raise DatasetError(
            f"expected one topic of type {kinds} in the bag, found: {names}; choose one"
        )
    return fitting[0]
