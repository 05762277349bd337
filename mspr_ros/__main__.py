"""Run the `mspr` command: `python -m mspr_ros`."""

from __future__ import annotations

import sys

from mspr_ros.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
