"""Read the good part of a bag that was cut off or lost its index, record by record.

A recorder that is killed leaves a file without index (MCAP, ROS 1) or without metadata (ROS 2),
and a full disk or a broken copy leaves half a file. The records before the break are all there:
each function walks over them from the start and stops where they end. Nothing is held but one
record or chunk.
"""

from __future__ import annotations

import bz2
import sqlite3
import struct
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lz4.frame import decompress as lz4_decompress  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MCAP_MAGIC = b"\x89MCAP0\r\n"
ROS1_MAGIC = b"#ROSBAG V2.0\n"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# A length beyond this is not a record but the noise behind a break.
MAX_RECORD_BYTES = 2**31
# What the decoders raise where data end or are not what they should be.
BROKEN = (
    *(struct.error, EOFError, KeyError, IndexError, ValueError, OSError, RuntimeError),
    *(zstd.ZstdError, sqlite3.Error),
)


class Record(NamedTuple):
    """One message found: topic, type (`pkg/msg/Name`), time of recording, serialized bytes."""

    topic: str
    type_name: str
    recorded_ns: int
    data: bytes


def salvage(path: Path) -> Iterator[Record]:
    """Give the messages of a file up to where it breaks, by its ending (.mcap, .db3, .bag)."""
    readers = {".mcap": _salvage_mcap, ".db3": _salvage_sqlite, ".bag": _salvage_ros1}
    reader = readers.get(path.suffix if path.suffix != ".active" else Path(path.stem).suffix)
    if reader is None:
        return
    try:
        yield from reader(path)
    except BROKEN:
        return  # the good part ends here


def unpacked_message(data: bytes) -> bytes:
    """Decompress a message that was compressed on its own; no CDR begins like zstd."""
    return zstd.decompress(data) if data[:4] == ZSTD_MAGIC else data


def unpack_file(path: Path, folder: Path) -> Path:
    """Decompress a `.zstd` file into a folder, as far as it goes."""
    target = folder / path.stem
    with path.open("rb") as packed, zstd.open(packed, "rb") as source, target.open("wb") as file:
        try:
            while block := source.read(1 << 20):
                file.write(block)
        except (EOFError, zstd.ZstdError):
            pass  # cut off: what came before is good
    return target


def _salvage_mcap(path: Path) -> Iterator[Record]:
    schemas: dict[int, str] = {}
    channels: dict[int, tuple[str, str]] = {}
    with path.open("rb") as file:
        if _exactly(file, 8) != MCAP_MAGIC:
            raise ValueError("no MCAP file")
        yield from _mcap_records(file, schemas, channels)


def _mcap_records(
    file: BinaryIO, schemas: dict[int, str], channels: dict[int, tuple[str, str]]
) -> Iterator[Record]:
    """Give the messages of a run of records (opcode, 64-bit length, content)."""
    while opcode := file.read(1):
        (size,) = struct.unpack("<Q", _exactly(file, 8))
        body = _exactly(file, size)
        if opcode == b"\x03":
            (key,) = struct.unpack_from("<H", body)
            schemas[key] = _mcap_text(body, 2)[0]
        elif opcode == b"\x04":
            key, schema = struct.unpack_from("<HH", body)
            channels[key] = (_mcap_text(body, 4)[0], schemas.get(schema, ""))
        elif opcode == b"\x05":
            key, _, log_time = struct.unpack_from("<HIQ", body)
            yield Record(*channels[key], log_time, body[22:])
        elif opcode == b"\x06":
            compression, start = _mcap_text(body, 28)
            packed = body[start + 8 :]
            unpack = {"": bytes, "lz4": lz4_decompress, "zstd": zstd.decompress}[compression]
            yield from _mcap_records(BytesIO(unpack(packed)), schemas, channels)
        elif opcode in (b"\x02", b"\x0f"):  # footer, end of data
            return


def _mcap_text(body: bytes, start: int) -> tuple[str, int]:
    """Read a length and so many bytes of text: the text, and where it ends."""
    (size,) = struct.unpack_from("<I", body, start)
    return body[start + 4 : start + 4 + size].decode(), start + 4 + size


def _salvage_sqlite(path: Path) -> Iterator[Record]:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        # Lets SQLite open a file that is shorter than its header says.
        connection.execute("PRAGMA writable_schema=ON")
        topics = {
            key: (name, kind)
            for key, name, kind in connection.execute("SELECT id, name, type FROM topics")
        }
        rows = connection.execute("SELECT topic_id, timestamp, data FROM messages NOT INDEXED")
        for key, recorded_ns, data in rows:
            yield Record(*topics[key], recorded_ns, bytes(data))
    finally:
        connection.close()


def _salvage_ros1(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        if _exactly(file, len(ROS1_MAGIC)) != ROS1_MAGIC:
            raise ValueError("no ROS 1 bag")
        yield from _ros1_records(file, {})


def _ros1_records(file: BinaryIO, connections: dict[int, tuple[str, str]]) -> Iterator[Record]:
    """Give the messages of a run of records (header, content, each after a 32-bit length)."""
    while size := file.read(4):
        header = _ros1_fields(_exactly(file, *struct.unpack("<I", size)))
        body = _exactly(file, *struct.unpack("<I", _exactly(file, 4)))
        operation = header["op"][0]
        if operation == 0x07:
            package, _, name = _ros1_fields(body)["type"].decode().partition("/")
            (key,) = struct.unpack("<I", header["conn"])
            connections[key] = (header["topic"].decode(), f"{package}/msg/{name}")
        elif operation == 0x02:
            (key,) = struct.unpack("<I", header["conn"])
            seconds, nanoseconds = struct.unpack("<II", header["time"])
            yield Record(*connections[key], seconds * 10**9 + nanoseconds, body)
        elif operation == 0x05:
            unpack = {b"none": bytes, b"bz2": bz2.decompress, b"lz4": lz4_decompress}
            chunk = unpack[header["compression"]](body)
            yield from _ros1_records(BytesIO(chunk), connections)


def _ros1_fields(data: bytes) -> dict[str, bytes]:
    fields: dict[str, bytes] = {}
    start = 0
    while start < len(data):
        (size,) = struct.unpack_from("<I", data, start)
        name, _, value = data[start + 4 : start + 4 + size].partition(b"=")
        fields[name.decode()] = value
        start += 4 + size
    return fields


def _exactly(file: BinaryIO, size: int) -> bytes:
    if size > MAX_RECORD_BYTES:
        raise EOFError("a record of absurd length")
    data = file.read(size)
    if len(data) != size:
        raise EOFError("the file ends within a record")
    return data
