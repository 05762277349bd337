"""Run a command with a ROS that the shell has sourced taken out of its environment.

    python3 bare/isolated.py COMMAND [ARGUMENT...]

The virtual environment brings a whole ROS 2 of its own. Libraries or messages of another one,
found through the shell's variables, would mix with it and crash in strange places.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

# Set by the setup files of ROS 2; nothing else reads them.
ROS_VARIABLES = (
    "AMENT_CURRENT_PREFIX",
    "AMENT_PREFIX_PATH",
    "COLCON_CURRENT_PREFIX",
    "COLCON_PREFIX_PATH",
    "ROS_DISTRO",
    "ROS_ETC_DIR",
    "ROS_PACKAGE_PATH",
    "ROS_PYTHON_VERSION",
    "ROS_ROOT",
    "ROS_VERSION",
    "RMW_IMPLEMENTATION",
)
# Lists of folders that others use too: only the entries inside of a ROS are taken out.
PATH_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "CMAKE_PREFIX_PATH", "PKG_CONFIG_PATH")
# Says that LD_LIBRARY_PATH holds the libraries of the wheels. Inherited from another environment,
# it would be wrong; without it, Python finds them anew.
WHEELS_GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"


def ros_prefixes(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Find the install folders of every ROS that the shell has sourced.

    Args:
        environment: The environment variables.

    Returns:
        Absolute folders; /opt/ros always is one of them.
    """
    prefixes = ["/opt/ros"]
    for variable in ("AMENT_PREFIX_PATH", "COLCON_PREFIX_PATH"):
        prefixes += [entry for entry in environment.get(variable, "").split(os.pathsep) if entry]
    return tuple(dict.fromkeys(prefixes))


def without_ros(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Copy an environment without any ROS in it.

    Args:
        environment: The environment variables.

    Returns:
        The copy, and the names of the variables that were removed or shortened.
    """
    prefixes = ros_prefixes(environment)
    kept = dict(environment)
    changed = [variable for variable in ROS_VARIABLES if kept.pop(variable, None) is not None]
    for variable in PATH_VARIABLES:
        entries = kept.get(variable, "").split(os.pathsep)
        others = [entry for entry in entries if not _is_inside(entry, prefixes)]
        if len(others) == len(entries):
            continue
        changed.append(variable)
        kept[variable] = os.pathsep.join(others)
        if not others:
            del kept[variable]
    kept.pop(WHEELS_GUARD, None)
    return kept, changed


def describe(environment: Mapping[str, str], changed: list[str]) -> str:
    """Say in one line which ROS was met and what is done about it."""
    distro = environment.get("ROS_DISTRO")
    name = f"ROS 2 {distro}" if distro else "a ROS"
    return (
        f"This shell has {name} sourced. It is left out here ({', '.join(changed)}): "
        ".venv brings its own, and the two must not mix."
    )


def main() -> None:
    """Replace this process by the command."""
    if len(sys.argv) < 2:
        sys.exit("usage: isolated.py COMMAND [ARGUMENT...]")
    environment, changed = without_ros(os.environ)
    if changed:
        print(describe(os.environ, changed), file=sys.stderr, flush=True)
    os.execvpe(sys.argv[1], sys.argv[1:], environment)


def _is_inside(entry: str, prefixes: tuple[str, ...]) -> bool:
    return any(entry == prefix or entry.startswith(prefix + os.sep) for prefix in prefixes)


if __name__ == "__main__":
    main()
