"""The smoother: resources over lanes and radius, cycles, and its speed beside libraries on one core.

    python benchmarks/smoother.py [--only PART] [--runs N] [--out FILE.json]

Resources come from Yosys alone (ECP5), of CHANNELS channels and HEIGHT rows. The libraries smooth the same
maps with the same Gaussian, zero padded, in one thread. The clock of the gateware is the one that
the board build in benchmarks/results/bitstreams.json reached; without that build there are cycles alone, and
the clock at which they take as long. What is not measured this time keeps its figures.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from emulator import ONE_THREAD, machine
from figures_file import save

from adakern_hw.blocks.dsp import Ecp5MultiplierRow
from adakern_hw.blocks.smoother import GaussianSmoother
from adakern_hw.synthesis import synthesise

RESULTS = Path(__file__).parent / "results"
BUILD = "ulx3s-85f-akm"
"""Build whose clock is taken."""

CHANNELS, HEIGHT, RADIUS = 8, 28, 6
LANES, RADII = (1, 2, 4, 8), range(1, RADIUS + 1)
LENGTHS = (28, 128)
LINES = ("columns", "rows", "column_tags", "row_tags")
"""Modules of the smoother that hold pixels of a map."""


def resources(lanes: int, radius: int) -> dict[str, Any]:
    """Cells of a smoother, and of its block RAMs those outside the lines."""
    made = synthesise(GaussianSmoother(CHANNELS, HEIGHT, radius, lanes, multiplier=Ecp5MultiplierRow), "ecp5")
    lines = sum(
        counts["block_rams"] for module, counts in made.modules.items() if module.split(".")[0] in LINES
    )
    return {
        "lanes": lanes,
        "radius": radius,
        **made.cells,
        "multipliers_per_lane": made.cells["dsps"] / lanes,
        "block_rams_elsewhere": made.cells["block_rams"] - lines,
        "cycles_per_pixel": CHANNELS // lanes,
    }


def libraries(sigma: float) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Functions that smooth maps [C, H, L] of float32, zero padded."""
    import cv2
    import torch
    from scipy import ndimage

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    radius = int(3 * sigma)
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    taps = (taps / taps.sum()).astype(np.float32)

    def scipy_smooth(maps: np.ndarray) -> np.ndarray:
        across = ndimage.correlate1d(maps, taps, axis=2, mode="constant")
        return ndimage.correlate1d(across, taps, axis=1, mode="constant")

    def opencv_smooth(maps: np.ndarray) -> np.ndarray:
        return np.stack(
            [cv2.sepFilter2D(one, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_CONSTANT) for one in maps]
        )

    across = torch.tensor(taps).reshape(1, 1, 1, -1).repeat(CHANNELS, 1, 1, 1)
    down = across.transpose(2, 3).contiguous()

    def torch_smooth(maps: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(maps)[None]
            x = torch.nn.functional.conv2d(x, across, padding=(0, radius), groups=CHANNELS)
            return torch.nn.functional.conv2d(x, down, padding=(radius, 0), groups=CHANNELS)[0].numpy()

    return {"scipy.ndimage": scipy_smooth, "OpenCV": opencv_smooth, "torch": torch_smooth}


def seconds_per_map(function: Callable[[np.ndarray], np.ndarray], maps: np.ndarray, runs: int) -> float:
    """Best of ``runs`` after one that does not count."""
    function(maps)
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        function(maps)
        best = min(best, time.perf_counter() - start)
    return best


def compare(clock_mhz: float | None, length: int, runs: int) -> dict[str, Any]:
    """Microseconds per map; the libraries agree on what they compute."""
    sigma = np.nextafter((RADIUS + 1) / 3, 0)
    maps = np.random.default_rng(length).integers(-128, 128, (CHANNELS, HEIGHT, length)).astype(np.float32)
    functions = libraries(sigma)
    first, *others = (function(maps) for function in functions.values())
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-3)
    cycles = {str(lanes): HEIGHT * length * CHANNELS // lanes for lanes in LANES}
    return {
        "length": length,
        "cycles": cycles,
        "gateware_us": {lanes: count / clock_mhz for lanes, count in cycles.items()} if clock_mhz else {},
        "libraries_us": {
            name: 1e6 * seconds_per_map(function, maps, runs) for name, function in functions.items()
        },
    }


def measure_speed(runs: int) -> dict[str, Any]:
    """The libraries beside the cycles at the build's clock."""
    build = json.loads((RESULTS / "bitstreams.json").read_text())["builds"].get(BUILD, {})
    clock_mhz = build["clock"]["reached_mhz"] if "clock" in build else None
    return {
        "build": BUILD,
        "clock_mhz": clock_mhz,
        "lanes_built": [lanes for *_, lanes in build["network"]["folds"]] if "network" in build else [],
        "runs": runs,
        "machine": machine(),
        "speed": [compare(clock_mhz, length, runs) for length in LENGTHS],
    }


def measure_resources() -> dict[str, Any]:
    """Every smoother of LANES and RADII."""
    return {"resources": [resources(lanes, radius) for lanes in LANES for radius in RADII]}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=("speed", "resources"), help="one of the parts")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--out", type=Path, default=RESULTS / "smoother.json")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        # BLAS reads these when it is loaded, which has happened.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    result = known | {
        "command": "python benchmarks/smoother.py",
        "channels": CHANNELS,
        "height": HEIGHT,
    }
    if arguments.only != "speed":
        result |= measure_resources()
    if arguments.only != "resources":
        result |= measure_speed(arguments.runs)
    print(save(arguments.out, result), end="")


if __name__ == "__main__":
    main()
