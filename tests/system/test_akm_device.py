"""The Verilated kernel modulation engine behind the link: answers, and adaptation while it runs."""

from collections.abc import Iterator

import numpy as np
import pytest

from adakern.akm_parameters import AkmParameters, kernels_of
from adakern.device.emulator import EmulatorDevice
from adakern.device.packet_device import ADDRESS, COMMIT, PacketDevice
from adakern.device.verilator import CLOCK_HZ, VerilatorTransport
from adakern.verification import verify
from adakern_sim.tops import byte_model
from adakern_spec.akm import AkmLayer, AkmShape, Downsample, kernel_offset
from adakern_spec.networks import folds_for_budget
from adakern_spec.protocol import Request

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("akm model")]

SHAPE = AkmShape(
    1,
    14,
    (
        AkmLayer(8, downsample=Downsample.STRIDE2),
        AkmLayer(16, downsample=Downsample.MAX2),
        AkmLayer(16, downsample=Downsample.STRIDE2),
        AkmLayer(24),
    ),
    5,
    max_length=40,
)
FOLDS = folds_for_budget(SHAPE, 120)
BAUD, BITS_PER_BYTE = 3_000_000, 10
ROUND_TRIP = 10e-3
"""Seconds that an adaptation may take on the line and in the device."""

OLD = ([0.5] * 4, [2.0] * 4)
NEW = (
    [np.linspace(0.1, 2.3, layer.out_channels) for layer in SHAPE.layers],
    [np.linspace(-1, 3, layer.out_channels) for layer in SHAPE.layers],
)


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


@pytest.fixture(scope="module")
def device() -> Iterator[PacketDevice]:
    transport = CountingTransport(byte_model(SHAPE, FOLDS, CLOCK_HZ))
    with PacketDevice(transport, SHAPE, "verilator:") as opened:
        yield opened


@pytest.fixture(scope="module")
def emulator() -> EmulatorDevice:
    return EmulatorDevice(SHAPE, FOLDS)


@pytest.fixture(scope="module")
def parameters() -> AkmParameters:
    drawn = AkmParameters.random(SHAPE, np.random.default_rng(3))
    return drawn.with_kernels(kernels_of(SHAPE, *OLD))


def random_maps(count: int, seed: int = 0) -> list[np.ndarray]:
    """Noise and extremes; lengths from the shortest to the longest."""
    rng = np.random.default_rng(seed)
    lengths = [SHAPE.min_length, SHAPE.max_length, *rng.integers(SHAPE.min_length, 30, count - 2)]
    maps = [rng.integers(0, 256, (1, SHAPE.height, int(length)), np.uint8) for length in lengths]
    return [np.where(m < 128, 0, 255).astype(np.uint8) if n % 3 == 1 else m for n, m in enumerate(maps)]


def answers(
    device: EmulatorDevice, parameters: AkmParameters, maps: list[np.ndarray]
) -> list[tuple[int, ...]]:
    device.load(parameters)
    return [answer.logits for answer in device.stream(maps)]


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_equals_the_reference_to_the_bit_and_cycle(device, emulator, seed, extreme):
    parameters = AkmParameters.random(SHAPE, np.random.default_rng(seed), extreme)
    device.load(parameters, verify=True)
    emulator.load(parameters)
    maps = random_maps(12, seed)
    assert list(device.stream(maps)) == list(emulator.stream(maps))


def test_verify_agrees(device, parameters):
    assert verify(device, parameters, 5, seed=1).mismatch is None


def test_adaptation_takes_less_than_ten_milliseconds_and_changes_the_answers_exactly(
    device, emulator, parameters
):
    """At 3 Mbaud every byte takes 10 bits; the cycles are the device's own."""
    maps = random_maps(6)
    adapted = parameters.with_kernels(kernels_of(SHAPE, *NEW))
    before, after = answers(emulator, parameters, maps), answers(emulator, adapted, maps)
    assert before != after
    device.load(parameters)
    assert [answer.logits for answer in device.stream(maps)] == before
    transport = device.link.transport
    up, down, start = transport.up, transport.down, transport.now()
    device.adapt(*NEW)
    moved = transport.up - up + transport.down - down
    taken = moved * BITS_PER_BYTE / BAUD + transport.now() - start
    assert len(adapted.kernels_block()) / 2 < moved
    assert taken <= ROUND_TRIP
    found = list(device.stream(maps))
    assert [answer.logits for answer in found] == after
    assert {answer.parameter_crc for answer in found} == {adapted.crc}
    assert device.identity()["parameter_crc"] == adapted.crc


def test_adaptation_amid_a_stream_lies_between_two_maps(device, emulator, parameters):
    """Maps before and behind it are under way together; none sees a part of it."""
    maps = random_maps(30, 5)
    adapted = parameters.with_kernels(kernels_of(SHAPE, *NEW))
    device.load(parameters)

    def source():
        for index, values in enumerate(maps):
            if index in (10, 20):
                device.adapt(*(NEW if index == 10 else OLD))
            yield values

    before, after = answers(emulator, parameters, maps), answers(emulator, adapted, maps)
    expected = [*before[:10], *after[10:20], *before[20:]]
    found = list(device.stream(source()))
    assert [answer.logits for answer in found] == expected
    crcs = [parameters.crc] * 10 + [adapted.crc] * 10 + [parameters.crc] * 10
    assert [answer.parameter_crc for answer in found] == crcs


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_adaptation_that_breaks_off_leaves_the_old_kernels(device, emulator, parameters, share):
    """Half of the bytes, or all without a commit, or with a wrong one: the engine keeps its taps."""
    maps = random_maps(4)
    device.load(parameters)
    new = parameters.with_kernels(kernels_of(SHAPE, *NEW)).kernels_block()
    offset, written = kernel_offset(SHAPE), int(len(new) * share)
    for first in range(0, written, 500):
        piece = new[first : min(first + 500, written)]
        device.link.request(Request.PARAMETER_WRITE, ADDRESS.pack(offset + first) + piece)
    if share == 1.0:
        with pytest.raises(Exception, match="bad digest"):
            device.link.request(Request.PARAMETER_COMMIT, COMMIT.pack(parameters.crc ^ 1))
    assert device.identity()["parameter_crc"] == parameters.crc
    assert [answer.logits for answer in device.stream(maps)] == answers(emulator, parameters, maps)
    device.adapt(*NEW)
    adapted = parameters.with_kernels(kernels_of(SHAPE, *NEW))
    assert [answer.logits for answer in device.stream(maps)] == answers(emulator, adapted, maps)
