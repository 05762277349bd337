"""Write a bundle with the paper's network for seven scenes and random weights.

    python benchmarks/paper_bundle.py -o DIR

Its speed is that of a trained one: `mspr bench DIR`, and `mspr export DIR` for other runtimes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mspr_ros.bench.stages import paper_bundle
from mspr_ros.bundle import save_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    bundle = paper_bundle()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_bundle(args.output, bundle.network, bundle.metadata)


if __name__ == "__main__":
    main()
