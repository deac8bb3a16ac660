"""Speed of the emulator on one core: reference network, map 8×16×128.

    python benchmarks/emulator.py [--runs N] [--out FILE.json]

Prints maps per second at batch 64 and at batch 1, best and median of the runs, and writes them with the
versions that made them. The BLAS behind numpy is held to one thread, so one core does all the work.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from figures_file import save

from adakern.device.emulator import EmulatorDevice
from adakern.parameters import SpnParameters
from adakern_spec.network import REFERENCE, REFERENCE_LENGTH, folds_for_budget

BATCHES = (64, 1)
MULTIPLIERS = 144
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def maps_per_second(device: EmulatorDevice, batch: int, runs: int) -> dict[str, float]:
    """Best and median over ``runs`` calls of predict, after one that does not count."""
    rng = np.random.default_rng(batch)
    size = (batch, REFERENCE.in_channels, REFERENCE.height, REFERENCE_LENGTH)
    maps = rng.integers(0, 256, size, dtype=np.uint8)
    lengths = np.full(batch, REFERENCE_LENGTH)
    device.predict(maps, lengths)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        device.predict(maps, lengths)
        seconds.append(time.perf_counter() - start)
    return {"best": round(batch / min(seconds), 1), "median": round(batch / statistics.median(seconds), 1)}


def machine() -> dict[str, str | float]:
    """What the figures depend on; a load above the number of cores makes them too low."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return {
        "cpu": models[0] if models else platform.processor(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": np.show_config(mode="dicts")["Build Dependencies"]["blas"]["version"],
        "commit": commit.stdout.strip(),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "emulator.json")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        # BLAS reads these when it is loaded, which has happened.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    with EmulatorDevice(REFERENCE, folds_for_budget(REFERENCE, MULTIPLIERS)) as device:
        device.load(SpnParameters.random(REFERENCE, np.random.default_rng(0)))
        figures = {f"batch {batch}": maps_per_second(device, batch, arguments.runs) for batch in BATCHES}
    result: dict[str, Any] = {
        "command": "python benchmarks/emulator.py",
        "maps_per_second": figures,
        "runs": arguments.runs,
        "machine": machine(),
    }
    for name, figure in figures.items():
        print(f"{name}: {figure['best']:.0f} maps/s at best, {figure['median']:.0f} in the median")
    save(arguments.out, result)


if __name__ == "__main__":
    main()
