"""Stand in for ROS 2's tf2_ros where ROS 2 comes from Python wheels, which lack it.

Same names, same behaviour, a part of the API: what is here can be relied on with the real package
too (test/contract runs against both). Not here: transforms of whole messages, the advanced API
with a fixed frame, the buffer client.
"""

from __future__ import annotations

from .buffer import Buffer
from .core import BufferCore
from .exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TimeoutException,
    TransformException,
)
from .static_transform_broadcaster import StaticTransformBroadcaster
from .transform_broadcaster import TransformBroadcaster
from .transform_listener import TransformListener

IS_STAND_IN = True  # the real package has no such name

__all__ = [
    "Buffer",
    "BufferCore",
    "ConnectivityException",
    "ExtrapolationException",
    "InvalidArgumentException",
    "LookupException",
    "StaticTransformBroadcaster",
    "TimeoutException",
    "TransformBroadcaster",
    "TransformException",
    "TransformListener",
]
