"""Read configurations strictly: an unknown key is an error, and all errors are told at once."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from mspr_ros.errors import ConfigError

T = TypeVar("T")
# Numbers of YAML 1.2 that PyYAML, which knows 1.1, takes for text: 1e-4, 2.5e3.
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """Read plain values only, and all of YAML 1.2's numbers."""


class _Dumper(yaml.SafeDumper):
    """Write what `_Loader` reads: a text that looks like a number is quoted."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def from_mapping(cls: type[T], values: Mapping[str, Any], source: str) -> T:
    """Build a configuration dataclass from nested mappings.

    Args:
        cls: A dataclass whose `__pydantic_config__` forbids extra keys.
        values: As read from YAML or JSON.
        source: Where the values came from, for the message.

    Raises:
        ConfigError: With every unknown key and wrong type, and the refused values of all parts
            that have neither; or with every number of a declared field that is not finite.
    """
    try:
        # As JSON, where a list may become a tuple but "3" or true no number.
        text = json.dumps(dict(values), default=str)
        config = pydantic.TypeAdapter(cls).validate_json(text, strict=True)
        problems = [
            f"{place}: expected a finite number (got {value})"
            for place, value in _not_finite(config, "")
        ]
    except pydantic.ValidationError as error:
        problems = [_describe(detail) for detail in error.errors()]
    if problems:
        raise ConfigError(f"{source}: " + "; ".join(problems))
    return config


def _not_finite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    """Find the numbers in declared fields that are not finite, with their places."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    inner: Iterable[tuple[str, Any]] = ()
    if dataclasses.is_dataclass(value):
        inner = ((one.name, getattr(value, one.name)) for one in dataclasses.fields(value))
    elif isinstance(value, tuple):
        inner = ((str(index), item) for index, item in enumerate(value))
    for name, item in inner:
        yield from _not_finite(item, f"{place}.{name}".lstrip("."))


def _describe(detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"]) or "configuration"
    if detail["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key '{place}'"
    message = detail["msg"].removeprefix("Value error, ")
    given = detail.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{place}: {message}{shown}"


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        ConfigError: If the file is missing, not YAML, or not a mapping.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping, got {type(values).__name__}")
    return values


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Write a mapping as YAML that `load_yaml` reads as it was, keys in their order."""
    return str(
        yaml.dump(
            dict(values), Dumper=_Dumper, sort_keys=False, default_flow_style=None,
            allow_unicode=True,
        )
    )  # fmt: skip


def set_key(values: dict[str, Any], change: str) -> None:
    """Change one value of nested mappings in place, as `section.key=value` says.

    Raises:
        ConfigError: If it says nothing of that form.
    """
    place, equals, text = change.partition("=")
    *sections, key = place.split(".")
    if not equals or not all((*sections, key)):
        raise ConfigError(f"expected KEY=VALUE with a KEY as in section.name, got '{change}'")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"'{change}': '{section}' is not a section")
    try:
        values[key] = yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise ConfigError(f"'{change}': the value is not valid YAML") from None


def to_mapping(config: Any) -> dict[str, Any]:
    """Give a configuration dataclass as plain nested dicts and lists, ready for YAML and JSON."""
    return {key: _plain(value) for key, value in dataclasses.asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
