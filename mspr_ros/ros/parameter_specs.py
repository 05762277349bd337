"""Parameters of a node: described in one place, checked before they are taken."""

from __future__ import annotations

import array
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from mspr_ros.errors import ConfigError

# Overrides that rclpy itself reads; everything else a node did not declare is a misspelling.
RCLPY_PARAMETERS = ("use_sim_time", "start_type_description_service", "qos_overrides.")


@dataclass(frozen=True)
class ParameterSpec:
    """Describe one parameter.

    Args:
        name: Its ROS name.
        default: Gives the type too; an integer is accepted where the default is a float.
        description: Told by `ros2 param describe`.
        read_only: Only to be given at the start.
        choices: The values allowed, if they can be listed.
        minimum: Smallest number allowed.
        maximum: Largest number allowed.
        at_reload: Read when the bundle is loaded; a change is told to wait for ~/reload.
    """

    name: str
    default: Any
    description: str
    read_only: bool = False
    choices: tuple[Any, ...] = ()
    minimum: float = -math.inf
    maximum: float = math.inf
    at_reload: bool = False

    def problem_with(self, value: Any) -> str:
        """Say why a value is refused; an empty string if it is fine."""
        wanted = type(self.default)
        fits = type(value) is wanted or (wanted is float and type(value) is int)
        # rclpy gives lists of numbers as arrays, and tuples where code set them.
        fits = fits or (wanted is list and isinstance(value, tuple | array.array))
        # An untyped empty list in YAML arrives as bytes, or as None: nothing else could be meant.
        fits = fits or (wanted is list and value in (None, b""))
        if not fits:
            got = f"{type(value).__name__} ({value!r})"
            return f"parameter '{self.name}' must be {wanted.__name__}, got {got}"
        if self.choices and value not in self.choices:
            known = ", ".join(str(choice) for choice in self.choices)
            return f"parameter '{self.name}' must be one of {known}; got {value!r}"
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and not self.minimum <= value <= self.maximum:  # NaN is refused here too
            return (
                f"parameter '{self.name}' must be within {self.minimum:g} and "
                f"{self.maximum:g}, got {value}"
            )
        return ""

    def descriptor(self) -> ParameterDescriptor:
        """Build the ROS description of this parameter."""
        descriptor = ParameterDescriptor(
            description=self.description,
            read_only=self.read_only,
            # A statically typed float refuses `max_rate_hz: 10`; types are checked here instead.
            dynamic_typing=True,
            additional_constraints=(
                "one of: " + ", ".join(str(choice) for choice in self.choices)
                if self.choices
                else ""
            ),
        )
        if math.isfinite(self.minimum) and math.isfinite(self.maximum):
            if isinstance(self.default, float):
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=self.minimum, to_value=self.maximum)
                ]
            else:
                descriptor.integer_range = [
                    IntegerRange(from_value=int(self.minimum), to_value=int(self.maximum))
                ]
        return descriptor


class NodeParameters:
    """A node's declared parameters, by name.

    Args:
        node: Declares them, and refuses changes that a spec refuses.
        specs: What is declared.

    Raises:
        ConfigError: If the node was started with unknown or invalid values; all are named.
    """

    def __init__(self, node: Node, specs: Sequence[ParameterSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._specs_at_reload = {spec.name for spec in specs if spec.at_reload}
        overrides = {
            name: parameter.value
            for name, parameter in getattr(node, "_parameter_overrides", {}).items()
        }
        problems = problems_with(overrides, self._specs)
        if problems:
            raise ConfigError("; ".join(problems))
        for spec in specs:
            node.declare_parameter(spec.name, spec.default, spec.descriptor())
        node.add_on_set_parameters_callback(self._check)
        self._node = node

    def __getitem__(self, name: str) -> Any:
        value = self._node.get_parameter(name).value
        default = self._specs[name].default
        if isinstance(default, list):
            return list(value or ())
        return float(value) if isinstance(default, float) else value

    def _check(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            spec = self._specs.get(parameter.name)
            problem = spec.problem_with(parameter.value) if spec else ""
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        waiting = [p.name for p in parameters if p.name in self._specs_at_reload]
        if waiting:  # rclpy tells no reason with a success
            names = ", ".join(waiting)
            self._node.get_logger().info(f"{names}: takes effect at configure or ~/reload")
        return SetParametersResult(successful=True)


def problems_with(values: Mapping[str, Any], specs: Mapping[str, ParameterSpec]) -> list[str]:
    """List what is unknown or invalid among parameter values."""
    problems = []
    for name, value in values.items():
        if name in specs:
            problem = specs[name].problem_with(value)
            if problem:
                problems.append(problem)
        elif not name.startswith(RCLPY_PARAMETERS):
            near = difflib.get_close_matches(name, specs, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            problems.append(f"unknown parameter '{name}'{hint}")
    return problems
