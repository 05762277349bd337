"""The exceptions of tf2: every one is a TransformException."""

from __future__ import annotations


class TransformException(Exception):
    """A transform could not be given."""


class ConnectivityException(TransformException):
    """Both frames are known, and no chain of transforms connects them."""


class LookupException(TransformException):
    """A frame is not known."""


class ExtrapolationException(TransformException):
    """The frames are connected, but not at the time that was asked for."""


class InvalidArgumentException(TransformException):
    """A frame name is empty or starts with a slash."""


class TimeoutException(TransformException):
    """The transform did not come within the time that was allowed."""
