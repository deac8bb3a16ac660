"""Round trip of an adaptation on the Verilated device: bytes on the line at 3 Mbaud and cycles of the device.

    python benchmarks/adaptation.py [--out FILE.json]

Each of four layers gets new widths and gates. Every byte, of requests and replies, counts with 10 bits at
3 Mbaud, one after the other, though requests and replies use a wire each; the cycles from the first byte
to the last reply count at the link's clock. Answers before and after are compared with the two reference
networks', every bit.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from figures_file import save

from adakern.akm_parameters import AkmParameters, kernels_of
from adakern.device.packet_device import PacketDevice
from adakern.device.verilator import CLOCK_HZ, VerilatorTransport
from adakern.reference.akm import AkmReference
from adakern_sim.tops import byte_model
from adakern_spec.akm import AkmLayer, AkmShape, Downsample
from adakern_spec.networks import block_size, folds_for_budget

BAUD, BITS_PER_BYTE = 3_000_000, 10
MULTIPLIERS = 144
IMAGES = 8

CHANNELS = (16, 32, 48, 64)
LAYERS = tuple(AkmLayer(channels, downsample=Downsample.STRIDE2) for channels in CHANNELS)
NETWORKS = {
    "Omniglot's, radius 2, per channel": AkmShape(1, 14, LAYERS, 5, radius=2, max_length=14),
    "the same, radius 6, per layer": AkmShape(1, 14, LAYERS, 5, radius=6, per_channel=False, max_length=14),
    "8, 16, 16, 24 channels, radius 6, per channel": AkmShape(
        1,
        14,
        tuple(AkmLayer(channels, downsample=Downsample.STRIDE2) for channels in (8, 16, 16, 24)),
        5,
        radius=6,
        max_length=14,
    ),
}


class CountingTransport(VerilatorTransport):
    """Counts the bytes both ways."""

    up = down = 0

    def write(self, data: bytes) -> None:
        self.up += len(data)
        super().write(data)

    def read(self, timeout: float) -> bytes:
        data = super().read(timeout)
        self.down += len(data)
        return data


def kernels(shape: AkmShape, rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """r and s of every layer."""
    sizes = [shape.records(layer) for layer in range(len(shape.layers))]
    return [rng.uniform(0, shape.radius / 3, size) for size in sizes], [rng.normal(2, 1, n) for n in sizes]


def measure(name: str, shape: AkmShape) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (1, shape.height, shape.max_length), np.uint8) for _ in range(IMAGES)]
    before = AkmParameters.random(shape, rng)
    before = before.with_kernels(kernels_of(shape, *kernels(shape, rng)))
    r, s = kernels(shape, rng)
    after = before.with_kernels(kernels_of(shape, r, s))
    transport = CountingTransport(
        byte_model(shape, folds_for_budget(shape, MULTIPLIERS), CLOCK_HZ, status=print)
    )
    with PacketDevice(transport, shape) as device:
        device.load(before)
        old = [answer.logits for answer in device.stream(images)]
        up, down, start = transport.up, transport.down, transport.now()
        device.adapt(r, s)
        up, down, device_time = transport.up - up, transport.down - down, transport.now() - start
        new = [answer.logits for answer in device.stream(images)]
    right = old == references(before, images) and new == references(after, images) and old != new
    line_time = (up + down) * BITS_PER_BYTE / BAUD
    return {
        "network": name,
        "records": sum(shape.records(layer) for layer in range(len(shape.layers))),
        "kernel_bytes": len(after.kernels_block()),
        "block_bytes": block_size(shape),
        "bytes_up": up,
        "bytes_down": down,
        "cycles": round(device_time * CLOCK_HZ),
        "line_ms": 1e3 * line_time,
        "device_ms": 1e3 * device_time,
        "round_trip_ms": 1e3 * (line_time + device_time),
        "answers_exact": right,
    }


def references(parameters: AkmParameters, images: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [tuple(row) for row in AkmReference(parameters).run(images).logits.tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/adaptation.json"))
    arguments = parser.parse_args()
    report = {
        "command": "python benchmarks/adaptation.py",
        "baud": BAUD,
        "clock_hz": CLOCK_HZ,
        "multipliers": MULTIPLIERS,
        "rows": [measure(name, shape) for name, shape in NETWORKS.items()],
    }
    print(save(arguments.out, report), end="")


if __name__ == "__main__":
    main()
