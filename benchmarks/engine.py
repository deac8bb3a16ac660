"""Cycles of the reference network in the Verilated gateware, against the closed formulas.

    python benchmarks/engine.py [--multipliers 144] [--maps 64] [--out FILE.json]

Cycles are the device's own counters, so the figures do not depend on the machine. Steady state is
what one more map costs: the busy cycles of a long batch less those of a single map.
"""

import argparse
from pathlib import Path

import numpy as np
from figures_file import save

import adakern
from adakern.artifact import Artifact
from adakern.device.packet_device import PacketDevice
from adakern.parameters import SpnParameters
from adakern_spec import cycles
from adakern_spec.network import REFERENCE, REFERENCE_LENGTH, folds_for_budget


def busy(device: PacketDevice, maps: np.ndarray) -> tuple[int, int, int]:
    """Busy and stalled cycles of one batch, and the cycles of its first map."""
    before = device.counters()
    predictions = device.predict(maps, np.full(len(maps), REFERENCE_LENGTH))
    after = device.counters()
    return after["busy"] - before["busy"], after["stalls"] - before["stalls"], int(predictions.cycles[0])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--multipliers", type=int, default=144)
    parser.add_argument("--maps", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "engine.json")
    arguments = parser.parse_args()

    rng = np.random.default_rng(0)
    size = (arguments.maps, REFERENCE.in_channels, REFERENCE.height, REFERENCE_LENGTH)
    maps = rng.integers(0, 256, size, dtype=np.uint8)
    parameters = SpnParameters.random(REFERENCE, rng)
    artifact = Artifact(
        parameters, fractions=(0,) * len(REFERENCE.channels), float_parameters={}, encoder=None
    )
    folds = folds_for_budget(REFERENCE, arguments.multipliers)
    with adakern.open(f"verilator:?multipliers={arguments.multipliers}", artifact) as device:
        assert isinstance(device, PacketDevice)
        single, _, latency = busy(device, maps[:1])
        batch, stalls, _ = busy(device, maps)
    steady = (batch - single) / (arguments.maps - 1)
    useful = REFERENCE.macs(REFERENCE_LENGTH)
    multipliers = sum(fold.multipliers for fold in folds)
    options = f"--multipliers {arguments.multipliers} --maps {arguments.maps}"
    result = {
        "command": f"python benchmarks/engine.py {options}",
        "multipliers": multipliers,
        "cycles_per_map": steady,
        "cycles_per_map_formula": cycles.interval(REFERENCE, folds, REFERENCE_LENGTH),
        "latency": latency,
        "latency_formula": cycles.latency(REFERENCE, folds, REFERENCE_LENGTH),
        "stalls": stalls,
        "utilisation": useful / (multipliers * steady),
    }
    print(save(arguments.out, result), end="")


if __name__ == "__main__":
    main()
