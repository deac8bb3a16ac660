"""The host's link against the gateware, with everything in between that can go wrong."""

import random
from collections import deque

import numpy as np
import pytest

from adakern.device.packet_device import JOB, READ, BatchInterrupted, PacketDevice, map_payload
from adakern.device.packets import Record
from adakern.device.transport import Transport
from adakern.device.verilator import VerilatorTransport
from adakern.parameters import SpnParameters
from adakern.reference.spn import SpnReference
from adakern_hw.top import timeout
from adakern_sim.model import LineFaults
from adakern_sim.tops import byte_model, uart_model
from adakern_spec import protocol
from adakern_spec.cycles import padding
from adakern_spec.errors import DeviceError
from adakern_spec.network import SpnShape, folds_for_interval
from adakern_spec.networks import result_fields
from adakern_spec.protocol import Request

pytestmark = pytest.mark.slow

SHAPE = SpnShape((2, 2, 2), height=3, max_length=5000)
FOLDS = folds_for_interval(SHAPE, 9)
CLOCK_HZ = 48_000_000
BAUD = CLOCK_HZ // 4
BITS_PER_BYTE = 10

PARAMETERS = SpnParameters.random(SHAPE, np.random.default_rng(11))


def maps_of(count, seed, longest=20):
    rng = np.random.default_rng(seed)
    shapes = [(2, 3, int(length)) for length in rng.integers(1, longest + 1, count)]
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


def expected(maps):
    result = SpnReference(PARAMETERS).run(maps)
    return list(zip(map(tuple, result.scales.tolist()), map(tuple, result.kernels.tolist()), strict=True))


def answers(device, maps):
    return [(answer.scales, answer.kernels) for answer in device.stream(maps)]


class Faults:
    """One direction of a bad line: drops, repeats, delays, damages frames and invents bytes."""

    def __init__(self, rate, seed):
        self.rate = rate
        self.random = random.Random(seed)
        self.delayed = deque()
        self.count = 0

    def __call__(self, frame):
        out = b""
        if self.random.random() < self.rate:
            self.count += 1
            fault = self.random.choice(["drop", "repeat", "delay", "damage", "cut", "garbage", "zeros"])
            place = self.random.randrange(len(frame))
            if fault == "drop":
                frame = b""
            elif fault == "repeat":
                frame += frame
            elif fault == "delay":
                self.delayed.append((self.random.randrange(1, 12), frame))
                frame = b""
            elif fault == "damage":
                damaged = bytearray(frame)
                for _ in range(self.random.randrange(1, 4)):
                    damaged[self.random.randrange(len(frame))] = self.random.randrange(256)
                frame = bytes(damaged)
            elif fault == "cut":
                frame = frame[:place]
            elif fault == "garbage":
                frame = frame[:place] + self.random.randbytes(self.random.randrange(1, 700)) + frame[place:]
            else:
                frame = bytes(self.random.randrange(1, 20)) + frame
        out += frame
        for _ in range(len(self.delayed)):
            left, late = self.delayed.popleft()
            if left > 1:
                self.delayed.append((left - 1, late))
            else:
                out += late
        return out


class FaultyTransport(Transport):
    """Another transport with `Faults` in both directions, frame by frame."""

    def __init__(self, line, rate, seed):
        self.line = line
        self.name, self.byte_time, self.latency = line.name, line.byte_time, line.latency
        self.there, self.back = Faults(rate, seed), Faults(rate, seed + 1)
        self._partial = b""

    def write(self, data):
        self.line.write(self.there(data))

    def read(self, timeout):
        *complete, self._partial = (self._partial + self.line.read(timeout)).split(b"\0")
        return b"".join(self.back(b"\0" + frame + b"\0") for frame in complete if frame)

    def now(self):
        return self.line.now()

    def close(self):
        self.line.close()


def byte_line():
    return VerilatorTransport(byte_model(SHAPE, FOLDS, CLOCK_HZ), CLOCK_HZ)


def uart_line():
    line = VerilatorTransport(uart_model(SHAPE, FOLDS, CLOCK_HZ, BAUD), CLOCK_HZ, "uart")
    line.byte_time = BITS_PER_BYTE / BAUD
    return line


@pytest.fixture
def line():
    with_model = byte_line()
    yield with_model
    with_model.close()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("rate", [0.05, 0.15, 0.3])
def test_every_answer_is_right_and_each_map_runs_once(line, rate, seed):
    faulty = FaultyTransport(line, 0.0, 100 * seed)
    device = PacketDevice(faulty, SHAPE)
    device.load(PARAMETERS)
    faulty.there.rate = faulty.back.rate = rate
    maps = maps_of(60, seed) + maps_of(5, seed, longest=900)
    assert answers(device, maps) == expected(maps)
    faulty.there.rate = faulty.back.rate = 0.0
    counters = device.counters()
    assert faulty.there.count + faulty.back.count > 0
    # No recovery was needed, so exactly-once shows in the device's own count.
    assert counters["maps"] == len(maps)
    assert device.link.repeated > 0
    assert counters["frames_repeated"] > 0


def test_sequence_numbers_wrap(line):
    device = PacketDevice(line, SHAPE)
    device.load(PARAMETERS)
    reads = (
        (Request.PARAMETER_READ, READ.pack(place % 32, 1)) for place in range(1 << protocol.SEQUENCE_BITS)
    )
    block = PARAMETERS.to_block()
    replies = device.link.exchange(reads)
    assert all(reply == block[place % 32 :][:1] for place, reply in enumerate(replies))
    maps = maps_of(9, 1)
    assert answers(device, maps) == expected(maps)


@pytest.mark.parametrize("seed", range(4))
def test_parameters_load_right_over_a_bad_line(line, seed):
    device = PacketDevice(FaultyTransport(line, 0.15, seed), SHAPE)
    device.load(PARAMETERS, verify=True)
    assert device.read_parameters() == PARAMETERS.to_block()
    assert device.identity()["parameter_crc"] == PARAMETERS.crc


def test_a_line_that_passes_nothing_ends_in_an_error(line):
    device = PacketDevice(FaultyTransport(line, 0.0, 0), SHAPE)
    device.load(PARAMETERS)
    maps = maps_of(9, 0)
    cut = device.link.transport

    def until_cut():
        for given, _ in enumerate(device.stream(maps), 1):
            if given == 4:
                cut.write = lambda data: None

    with pytest.raises(BatchInterrupted, match="device silent") as caught:
        until_cut()
    assert 4 <= caught.value.done < 9
    del cut.write
    assert answers(device, maps[caught.value.done :]) == expected(maps)[caught.value.done :]


def test_power_cycle_in_mid_batch(line):
    """Everything is lost: the model is loaded again and the batch goes on."""
    device = PacketDevice(line, SHAPE)
    device.load(PARAMETERS)
    maps = maps_of(30, 2)
    given = []
    for answer in device.stream(maps):
        given.append((answer.scales, answer.kernels))
        if len(given) == 11:
            line._model.close()
            line._model = byte_model(SHAPE, FOLDS, CLOCK_HZ)
    assert given == expected(maps)
    assert device.counters()["maps"] < 30


def test_host_that_dies_in_mid_job_leaves_the_device_usable(line):
    first = PacketDevice(line, SHAPE)
    first.load(PARAMETERS)
    maps = maps_of(8, 3, longest=900)
    stream = first.stream(maps)
    next(stream)
    second = PacketDevice(line, SHAPE)
    second.load(PARAMETERS)
    assert answers(second, maps) == expected(maps)
    # The first host finds its epoch over, begins another and runs the rest of its maps again.
    assert [(answer.scales, answer.kernels) for answer in stream] == expected(maps)[1:]


def test_maps_whose_padding_exceeds_the_window_follow_each_other():
    """Two short maps behind the first and the next map's begin do not hold the pixels that push it out."""
    shape = SpnShape((2, 1), height=100, kernel=17, max_length=50)
    folds = folds_for_interval(shape, 17)
    assert (
        4 * protocol.PAYLOAD_MAX > padding(shape, folds) * 2 > 2 * (protocol.PAYLOAD_MAX + shape.map_bytes(1))
    )
    parameters = SpnParameters.random(shape, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    maps = [rng.integers(0, 256, (2, 100, length), dtype=np.uint8) for length in (2, 1, 1, 20, 1, 1, 9)]
    with PacketDevice(VerilatorTransport(byte_model(shape, folds, CLOCK_HZ), CLOCK_HZ), shape) as device:
        device.load(parameters)
        scales = [answer.scales for answer in device.stream(maps)]
        # Each once: nothing timed out and ran again.
        assert device.counters()["maps"] == len(maps)
    assert scales == list(map(tuple, SpnReference(parameters).run(maps).scales.tolist()))


def test_a_host_that_pauses_in_a_map_does_not_time_out_the_map_before(line):
    """The first map's result needs more pixels of the second."""
    device = PacketDevice(line, SHAPE)
    device.load(PARAMETERS)
    maps = maps_of(2, 8, longest=20)
    first, second = map(map_payload, maps)
    assert 4 < padding(SHAPE, FOLDS) * 2 < len(second)

    def commands():
        yield Request.JOB, JOB.pack(1, maps[0].shape[2])
        yield Request.DATA, first
        yield Request.JOB, JOB.pack(2, maps[1].shape[2])
        yield Request.DATA, second[:4]
        end = line.now() + 1.5 * timeout(SHAPE, FOLDS) / CLOCK_HZ
        while (left := end - line.now()) > 0:
            line.read(left)
        yield Request.DATA, second[4:]

    result = Record(result_fields(SHAPE))
    replies = [result.unpack(reply) for reply in device.link.exchange(commands()) if reply]
    assert [(row["scale_height"], row["scale_length"]) for row in replies] == [
        row[0] for row in expected(maps)
    ]


def test_device_of_another_shape_is_refused(line):
    with pytest.raises(DeviceError, match="spec digest"):
        PacketDevice(line, SpnShape((2, 2, 2), height=4, max_length=5000))


@pytest.fixture(scope="module")
def uart():
    line = uart_line()
    yield line
    line.close()


def test_payload_fills_the_line(uart):
    """At least 95% of the line rate in payload while maps stream."""
    device = PacketDevice(uart, SHAPE)
    device.load(PARAMETERS)
    rng = np.random.default_rng(4)
    maps = [rng.integers(0, 256, (2, 3, 2500), dtype=np.uint8) for _ in range(3)]
    start = uart.now()
    assert answers(device, maps) == expected(maps)
    payload = sum(values.size for values in maps)
    assert payload * BITS_PER_BYTE / BAUD / (uart.now() - start) >= 0.95
    assert device.link.repeated == 0


@pytest.mark.parametrize(
    "faults",
    [
        {"stop_error": 1e-3},
        {"noise": 1e-3},
        {"drop": 1e-3},
        {"insert": 1e-3},
        {"stop_error": 5e-4, "noise": 5e-4, "drop": 5e-4, "insert": 5e-4},
    ],
)
def test_line_faults_at_the_pins(uart, faults):
    device = PacketDevice(uart, SHAPE)
    device.load(PARAMETERS)
    before = device.counters()
    uart._model.set_faults(LineFaults(**faults, seed=7))
    maps = maps_of(20, 5, longest=60)
    assert answers(device, maps) == expected(maps)
    uart._model.set_faults(LineFaults())
    after = device.counters()
    assert after["maps"] - before["maps"] == len(maps)
    assert after["frames_bad"] > before["frames_bad"]


def test_break_in_mid_batch(uart):
    device = PacketDevice(uart, SHAPE)
    device.load(PARAMETERS)
    maps = maps_of(12, 6, longest=60)
    given = []
    for answer in device.stream(maps):
        given.append((answer.scales, answer.kernels))
        uart._model.send_break(15)
    assert given == expected(maps)
