"""Read configurations strictly: an unknown key is an error, and all errors are told at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from mspr_ros.errors import ConfigError

T = TypeVar("T")


def from_mapping(cls: type[T], values: Mapping[str, Any], source: str) -> T:
    """Build a configuration dataclass from nested mappings.

    Args:
        cls: A dataclass whose `__pydantic_config__` forbids extra keys.
        values: As read from YAML or JSON.
        source: Where the values came from, for the message.

    Raises:
        ConfigError: With every unknown key and wrong type, and the refused values of all parts
            that have neither.
    """
    try:
        # As JSON, where a list may become a tuple but "3" or true no number.
        text = json.dumps(dict(values), default=str)
        return pydantic.TypeAdapter(cls).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        problems = [_describe(detail) for detail in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(problems)) from None


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
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping, got {type(values).__name__}")
    return values


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
        values[key] = yaml.safe_load(text)
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
