"""Read ROS 2 bags."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from rosbags.rosbag2 import Reader, ReaderError

from mspr_ros.bags.types import TYPES
from mspr_ros.errors import DatasetError


@dataclass(frozen=True)
class BagTopic:
    """A topic of a bag: its name, its type such as `sensor_msgs/msg/Image`, its messages."""

    name: str
    type_name: str
    count: int


@dataclass(frozen=True)
class BagMessage:
    """One recorded message, as serialized bytes (CDR).

    Args:
        topic: Its topic.
        type_name: Its type.
        recorded_ns: When it was recorded.
        data: The bytes.
    """

    topic: str
    type_name: str
    recorded_ns: int
    data: bytes

    def deserialize(self) -> Any:
        """Give the message as an object of the rosbags library."""
        return TYPES.deserialize_cdr(self.data, self.type_name)


class Bag:
    """Read a bag; use it in a `with` statement.

    Args:
        path: The bag's folder.

    Raises:
        DatasetError: If it is no readable bag.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self._reader = Reader(self.path)
        except (ReaderError, OSError) as error:
            raise DatasetError(f"{path} is not a readable ROS 2 bag: {error}") from None

    def __enter__(self) -> Bag:
        try:
            self._reader.open()
        except (ReaderError, OSError) as error:
            raise DatasetError(f"{self.path} cannot be read: {error}") from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()

    @property
    def topics(self) -> tuple[BagTopic, ...]:
        """What the bag holds, by name."""
        return tuple(
            BagTopic(name, info.msgtype or "", info.msgcount)
            for name, info in sorted(self._reader.topics.items())
        )

    @property
    def start_ns(self) -> int:
        """When the first message was recorded."""
        return int(self._reader.start_time)

    @property
    def end_ns(self) -> int:
        """When the last message was recorded."""
        return int(self._reader.end_time)

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
            DatasetError: If the bag is damaged.
        """
        connections = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not connections:
            return
        try:
            for connection, recorded_ns, data in self._reader.messages(connections, start_ns):
                yield BagMessage(connection.topic, connection.msgtype, recorded_ns, bytes(data))
        except (ReaderError, OSError) as error:
            raise DatasetError(f"{self.path} is damaged: {error}") from None


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
            raise DatasetError(f"the bag has no topic {wanted} of type {kinds}; it has: {names}")
        return wanted
    if len(fitting) != 1:
        raise DatasetError(
            f"expected one topic of type {kinds} in the bag, found: {names}; choose one"
        )
    return fitting[0]
