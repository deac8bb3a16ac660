"""Run the benchmarks that need no data set, then write docs/benchmarks.md.

    python benchmarks/run.py

The others name what they need: benchmarks/openvaccine.py, omniglot.py, omniglot_integers.py, cifar.py.
"""

import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    "engine",
    "four_bits",
    "verilator",
    "emulator",
    "smoother_error",
    "adaptation",
    "resources",
    "smoother",
    "report",
)


def main() -> None:
    """One after another, so that none disturbs the next."""
    for name in SCRIPTS:
        subprocess.run([sys.executable, str(Path(__file__).with_name(f"{name}.py"))], check=True)


if __name__ == "__main__":
    main()
