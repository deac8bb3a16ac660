"""The Verilated gateware as a device, against the integer reference."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from adakern.device.emulator import EmulatorDevice
from adakern.device.packet_device import PacketDevice
from adakern.device.verilator import VerilatorTransport, open_verilator
from adakern.parameters import SpnParameters
from adakern_sim.tops import byte_model
from adakern_spec.digest import spec_digest
from adakern_spec.errors import DeviceError
from adakern_spec.network import SpnShape, folds_for_budget

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("device model")]

SHAPE = SpnShape((2, 4, 2), height=5, max_length=64)
FOLDS = folds_for_budget(SHAPE, 16)
CLOCK_HZ = 48_000_000


@pytest.fixture(scope="module")
def device() -> Iterator[PacketDevice]:
    with open_verilator(SHAPE, FOLDS, CLOCK_HZ) as opened:
        yield opened


@pytest.fixture(scope="module")
def emulator() -> EmulatorDevice:
    return EmulatorDevice(SHAPE, FOLDS)


def random_maps(seed: int, count: int) -> list[np.ndarray]:
    """Noise, extremes and single pixels; lengths from the shortest to the longest."""
    rng = np.random.default_rng(seed)
    lengths = [1, SHAPE.max_length, *rng.integers(1, SHAPE.max_length + 1, count - 2)]
    maps = []
    for index, length in enumerate(lengths):
        values = rng.integers(0, 256, (SHAPE.in_channels, SHAPE.height, int(length)), np.uint8)
        if index % 3 == 1:
            values = np.where(values < 128, 0, 255).astype(np.uint8)
        elif index % 3 == 2:
            values[rng.random(values.shape) < 0.95] = 0
        maps.append(values)
    return maps


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_reference_to_the_bit_and_cycle(
    device: PacketDevice, emulator: EmulatorDevice, seed: int, extreme: bool
) -> None:
    parameters = SpnParameters.random(SHAPE, np.random.default_rng(seed), extreme)
    device.load(parameters, verify=True)
    emulator.load(parameters)
    maps = random_maps(seed, 40)
    assert list(device.stream(maps)) == list(emulator.stream(maps))


def test_batch_ignores_what_lies_beyond_the_length(device: PacketDevice, emulator: EmulatorDevice) -> None:
    rng = np.random.default_rng(9)
    parameters = SpnParameters.random(SHAPE, rng)
    device.load(parameters)
    emulator.load(parameters)
    maps = rng.integers(0, 256, (6, SHAPE.in_channels, SHAPE.height, 20), np.uint8)
    lengths = np.array([20, 1, 7, 13, 2, 19])
    finished: list[int] = []
    ours, theirs = device.predict(maps, lengths, finished.append), emulator.predict(maps, lengths)
    for name in ("scales", "kernels", "cycles"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert finished == [1, 2, 3, 4, 5, 6]


def test_maps_are_drawn_as_they_are_answered(device: PacketDevice) -> None:
    """Memory does not grow with the number of maps: few are drawn ahead of their answers."""
    device.load(SpnParameters.random(SHAPE, np.random.default_rng(3)))
    drawn = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal drawn
        for values in random_maps(3, 300):
            drawn += 1
            yield values

    ahead = [drawn - answered for answered, _ in enumerate(device.stream(source()), 1)]
    assert len(ahead) == 300
    assert max(ahead) <= 8


def test_time_is_that_of_the_simulated_clock() -> None:
    transport = VerilatorTransport(byte_model(SHAPE, FOLDS, CLOCK_HZ), CLOCK_HZ)
    start = transport.now()
    assert transport.read(1000 / CLOCK_HZ) == b""
    assert transport.now() - start == pytest.approx(1000 / CLOCK_HZ)
    transport.close()
    transport.close()


def test_identity_is_that_of_the_build(device: PacketDevice) -> None:
    identity = device.identity()
    assert identity["digest"] == spec_digest(SHAPE)
    assert identity["clock_hz"] == CLOCK_HZ
    assert identity["multipliers"] == sum(fold.multipliers for fold in FOLDS)
    assert identity["max_length"] == SHAPE.max_length


def test_garbage_ahead_of_a_host_is_skipped(emulator: EmulatorDevice) -> None:
    model = byte_model(SHAPE, FOLDS, CLOCK_HZ)
    garbage = np.random.default_rng(6).integers(0, 256, 5000, np.uint8).tobytes()
    assert model.run(garbage, 50_000)[0] == len(garbage)
    parameters = SpnParameters.random(SHAPE, np.random.default_rng(6))
    emulator.load(parameters)
    maps = random_maps(6, 5)
    with PacketDevice(VerilatorTransport(model, CLOCK_HZ), SHAPE) as device:
        device.load(parameters)
        assert list(device.stream(maps)) == list(emulator.stream(maps))
        assert device.counters()["frames_bad"] > 0


def test_another_shape_is_refused_with_both_digests() -> None:
    other = SpnShape((2, 4, 2), height=4, max_length=64)
    transport = VerilatorTransport(byte_model(SHAPE, FOLDS, CLOCK_HZ), CLOCK_HZ)
    with pytest.raises(DeviceError) as refusal:
        PacketDevice(transport, other)
    assert spec_digest(SHAPE).hex() in str(refusal.value)
    assert spec_digest(other).hex() in str(refusal.value)


def test_warm_start_needs_neither_amaranth_nor_torch() -> None:
    byte_model(SHAPE, FOLDS, CLOCK_HZ).close()
    script = (
        "import sys\n"
        "from adakern.device.verilator import open_verilator\n"
        "from adakern_spec.network import SpnShape, folds_for_budget\n"
        f"shape = {SHAPE!r}\n"
        f"open_verilator(shape, folds_for_budget(shape, 16), {CLOCK_HZ}, status=print).identity()\n"
        "print([name for name in ('amaranth', 'torch') if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
