"""How far the integer smoother is off float64, in LSB of its 8-bit output.

    python benchmarks/smoother_error.py [--out FILE.json]

Every sigma of a grid up to the largest that the radius holds, several gates, both border modes, on random
maps and on the worst ones: constants, checkerboard, stripes, single pixels at the limits.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from figures_file import save
from scipy.ndimage import correlate1d

from adakern.kernels import Border, Kernels, gaussian, largest_sigma
from adakern.reference.smoother import smooth
from adakern_spec.akm import RADIUS

SIGMAS = 1401
GATES = (1.0, 0.98, 0.88, 0.5, 0.2, 0.03)
HEIGHT, LENGTH, RANDOM = 16, 24, 12


def maps() -> np.ndarray:
    """int8 [N, H, L]"""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((HEIGHT, LENGTH))
    patterns = [(rows + columns) % 2, columns % 2, rows % 2, columns % 5 == 0, rows % 3 == 0]
    found = [np.where(pattern, 127, -128) for pattern in patterns]
    found += [np.full((HEIGHT, LENGTH), value) for value in (-128, 127, 1)]
    found += [np.where((rows == HEIGHT // 2) & (columns == at), 127, 0) for at in (0, LENGTH // 2)]
    found += list(rng.integers(-128, 128, (RANDOM, HEIGHT, LENGTH)))
    found += list(rng.choice([-128, 127], (RANDOM, HEIGHT, LENGTH)))
    return np.array(found, np.int8)


def exact(x: np.ndarray, sigma: float, gate: float, border: Border) -> np.ndarray:
    """Smoother, gate and ReLU in float64, by scipy."""
    taps = gaussian(sigma, RADIUS)
    weights = np.concatenate([taps[:0:-1], taps])
    values = x.astype(np.float64)
    y = correlate1d(values, weights, axis=2, mode="constant")
    if border is Border.ZERO:
        y = correlate1d(y, weights, axis=1, mode="constant")
    elif edge := int(3 * sigma):
        y[:, :, :edge], y[:, :, -edge:] = values[:, :, :edge], values[:, :, -edge:]
    return np.clip(gate * y, 0, 255)


def measure(border: Border) -> dict[str, Any]:
    x = maps()
    worst = total = 0.0
    differing = values = 0
    for sigma in np.linspace(0, largest_sigma(RADIUS), SIGMAS):
        for gate in GATES:
            y = smooth(x[:, None], Kernels.of(sigma, gate, RADIUS, border))[:, 0]
            wanted = exact(x, sigma, gate, border)
            off = np.abs(y - wanted)
            worst, total = max(worst, float(off.max())), total + float(off.sum())
            differing += int((y != np.floor(wanted + 0.5)).sum())
            values += y.size
    return {
        "border": border.value,
        "largest": worst,
        "mean": total / values,
        "differ_from_rounded": differing / values,
        "values": values,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/smoother_error.json"))
    arguments = parser.parse_args()
    report = {
        "command": "python benchmarks/smoother_error.py",
        "radius": RADIUS,
        "sigmas": SIGMAS,
        "gates": GATES,
        "rows": [measure(border) for border in Border],
    }
    print(save(arguments.out, report), end="")


if __name__ == "__main__":
    main()
