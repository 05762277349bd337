"""Write messages into a ROS 2 bag: whole or not at all, compressed or split as asked."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import yaml
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from mspr_ros.bags.types import TYPES
from mspr_ros.errors import DatasetError

STORAGES = {"sqlite3": StoragePlugin.SQLITE3, "mcap": StoragePlugin.MCAP}
# By zstd: the whole file, every message, or (MCAP's own way) every chunk.
COMPRESSIONS = {
    "none": CompressionMode.NONE,
    "file": CompressionMode.FILE,
    "message": CompressionMode.MESSAGE,
    "chunk": CompressionMode.STORAGE,
}
METADATA_VERSION: Literal[8] = 8  # read by all releases since Humble
_INFORMATION = "rosbag2_bagfile_information"


class BagWriter:
    """Write a bag in a `with` statement; nothing is left behind if that raises.

    Args:
        output: The bag's folder; must not exist.
        storage: `mcap` or `sqlite3`.
        compression: A key of `COMPRESSIONS`.
        custom_data: Key-value text for the bag's metadata.

    Raises:
        DatasetError: If the output exists or an option is unknown.
    """

    def __init__(
        self,
        output: Path,
        storage: str = "mcap",
        compression: str = "none",
        custom_data: dict[str, str] | None = None,
    ) -> None:
        if storage not in STORAGES or compression not in COMPRESSIONS:
            raise DatasetError(f"unknown storage '{storage}' or compression '{compression}'")
        if output.exists():
            raise DatasetError(f"{output} exists and is not overwritten; name another folder")
        self._output = output
        self._storage = storage
        self._compression = COMPRESSIONS[compression]
        self._custom_data = custom_data or {}
        self._partial = output.with_name(output.name + ".partial")
        self._parts: list[Path] = []
        self._writer: Writer | None = None
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self.next_file()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._writer is not None:
                self._writer.__exit__(kind, error, trace)
            if kind is None:
                _join(self._parts, self._partial, self._output.name)
                self._partial.rename(self._output)
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def next_file(self) -> None:
        """Go on in a new file, as a recorder does that splits its bag."""
        if self._writer is not None:
            self._writer.close()
        part = self._partial / f"part{len(self._parts)}"
        writer = Writer(part, version=METADATA_VERSION, storage_plugin=STORAGES[self._storage])
        writer.set_compression(self._compression, CompressionFormat.ZSTD)
        for key, value in self._custom_data.items():
            writer.set_custom_data(key, value)
        writer.open()
        self._parts.append(part)
        self._writer, self._connections = writer, {}

    def put(self, topic: str, kind: str, stamp_ns: int, message: Any) -> None:
        """Write a message (an object of the rosbags library) of a type."""
        assert self._writer is not None, "a bag is written in a with statement"
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=TYPES)
        data = TYPES.serialize_cdr(message, kind)
        self._writer.write(self._connections[topic], stamp_ns, data)


def _join(parts: list[Path], folder: Path, name: str) -> None:
    """Move the files of several small bags into one folder, with one metadata.yaml for all."""
    values = [yaml.safe_load((part / "metadata.yaml").read_text("utf-8")) for part in parts]
    infos = [value[_INFORMATION] for value in values]
    joined = dict(infos[0], files=[], relative_file_paths=[])
    for number, (part, info) in enumerate(zip(parts, infos, strict=True)):
        (old,) = info["relative_file_paths"]
        suffix = old.removeprefix(part.name)
        new = f"{name}_{number}{suffix}" if len(parts) > 1 else f"{name}{suffix}"
        (part / old).rename(folder / new)
        joined["relative_file_paths"].append(new)
        joined["files"] += [dict(file, path=new) for file in info["files"]]
        shutil.rmtree(part)
    starts = [info["starting_time"]["nanoseconds_since_epoch"] for info in infos]
    spans = [info["duration"]["nanoseconds"] for info in infos]
    ends = [start + span for start, span in zip(starts, spans, strict=True)]
    joined["starting_time"] = {"nanoseconds_since_epoch": min(starts)}
    joined["duration"] = {"nanoseconds": max(ends) - min(starts)}
    joined["message_count"] = sum(info["message_count"] for info in infos)
    topics: dict[str, dict[str, Any]] = {}
    for info in infos:
        for topic in info["topics_with_message_count"]:
            known = topics.setdefault(
                topic["topic_metadata"]["name"], dict(topic, message_count=0)
            )
            known["message_count"] += topic["message_count"]
    joined["topics_with_message_count"] = list(topics.values())
    text = yaml.safe_dump({_INFORMATION: joined}, sort_keys=False)
    (folder / "metadata.yaml").write_text(text, encoding="utf-8")
