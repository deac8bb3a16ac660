import random

import pytest
from amaranth.sim import Simulator

from adakern.device.packets import Deframer, Packet, encode
from adakern_hw.link.uart import RESOLUTION, BaudDivider, UartReceiver, UartTransmitter
from adakern_hw.top import UartTop
from adakern_sim.benches.stub_engine import StubEngine
from adakern_sim.streams import Bench, plain
from adakern_spec import protocol
from adakern_spec.errors import ShapeError
from adakern_spec.network import SpnShape, folds_for_interval
from adakern_spec.protocol import Request, Status

CLOCK = 12_000_000
BAUDS = [3_000_000, 2_500_000, 1_500_000, 921_600]


def waveform(items, cycles_per_bit, gap=0.0):
    """Level in each clock cycle of a line that carries bytes, "low stop" bytes and ("level", v, bits)."""
    edges, levels, time = [], [], 3 * cycles_per_bit
    for item in items:
        if isinstance(item, tuple):
            _, level, bits = item
            pieces = [(level, bits)]
        else:
            byte, stop = (item, 1) if isinstance(item, int) else (int(item), 0)
            pieces = [(0, 1), *((byte >> bit & 1, 1) for bit in range(8)), (stop, 1)]
        for level, bits in pieces:
            edges.append(time)
            levels.append(level)
            time += bits * cycles_per_bit
        edges.append(time)
        levels.append(1)
        time += gap * cycles_per_bit
    samples, index, level = [], 0, 1
    for cycle in range(int(time) + 20 * int(cycles_per_bit + 1)):
        while index < len(edges) and edges[index] <= cycle:
            level, index = levels[index], index + 1
        samples.append(level)
    return samples


def receive(items, baud, error=0.0, gap=0.0, ready=True, phase=0.0):
    """Bytes with their error marks, and number of BREAKs, from a line that is ``error`` too slow."""
    dut = UartReceiver(CLOCK, baud)
    samples = waveform([("level", 1, phase), *items], CLOCK / baud * (1 + error), gap)
    received, breaks = [], []

    async def bench(ctx):
        ctx.set(dut.bytes.ready, ready)
        for cycle, sample in enumerate(samples):
            ctx.set(dut.pin, sample)
            _, _, valid, byte, broken = await ctx.tick().sample(
                dut.bytes.valid, dut.bytes.payload, dut.line_break
            )
            if valid and ready:
                received.append((byte["data"], byte["error"]))
            if broken:
                breaks.append(cycle)
        if not ready:
            received.append(plain(ctx.get(dut.bytes.payload)))

    simulator = Simulator(dut)
    simulator.add_clock(1 / CLOCK)
    simulator.add_testbench(bench)
    simulator.run()
    return received, breaks


@pytest.mark.parametrize("baud", BAUDS)
def test_bytes_at_full_line_rate_with_the_clocks_apart(baud):
    rng = random.Random(baud)
    sent = [0x00, 0xFF, 0x55, 0xAA, *(rng.randrange(256) for _ in range(20))]
    # The receiver samples 9.5 bits after the edge: at four cycles per bit a quarter bit goes to the edge's
    # own uncertainty, which leaves 2.5%.
    for error in (0.0, 0.02, -0.02):
        for phase in (0.0, 0.37):
            received, breaks = receive(sent, baud, error, phase=phase)
            assert received == [(byte, 0) for byte in sent]
            assert breaks == []


def test_low_stop_bit_marks_the_byte_and_the_next_is_received():
    items = ["0", "85", 0x12, "255", 0x34]
    received, breaks = receive(items, 1_500_000, gap=2)
    assert received == [(0, 1), (85, 1), (0x12, 0), (255, 1), (0x34, 0)]
    assert breaks == []


def test_break_pulses_once_and_bytes_follow():
    for bits in (12, 13.5, 40):
        received, breaks = receive([0x11, ("level", 0, bits), ("level", 1, 1), 0x22], 1_500_000)
        assert received == [(0x11, 0), (0, 1), (0x22, 0)]
        assert len(breaks) == 1


def test_glitch_is_no_start_bit():
    received, _ = receive([("level", 0, 0.3), ("level", 1, 3), 0x77], 460_800)
    assert received == [(0x77, 0)]


def test_byte_that_is_not_taken_in_time_is_reported():
    received, _ = receive([0x11], 1_500_000, ready=False)
    assert received == [{"data": 0x11, "error": 0}]
    received, _ = receive([0x11, 0x22], 1_500_000, ready=False)
    assert received == [{"data": 0x22, "error": 1}]


def transmit(sent, baud, stall=0.0, clear=None):
    """Level of the transmitter's pin in each cycle."""
    dut = UartTransmitter(CLOCK, baud)
    bench = Bench(dut, seed=1)
    bench.put(dut.bytes, sent, stall)
    levels = []
    cycles = int(CLOCK / baud * 10 * (len(sent) * 3 + 3))

    async def watch(ctx):
        ctx.set(dut.clear, 1)
        for cycle in range(cycles):
            if clear is not None:
                ctx.set(dut.clear, clear(cycle))
            _, _, level = await ctx.tick().sample(dut.pin)
            levels.append(level)

    bench.add(watch)
    bench.run()
    return levels


def decoded(levels, cycles_per_bit):
    """Bytes of a waveform by mid-bit sampling from each start edge, and the places of the edges."""
    sent, starts, place = [], [], 0.0
    while True:
        try:
            edge = levels.index(0, round(place))
        except ValueError:
            return sent, starts
        bits = [levels[int(edge + (n + 0.5) * cycles_per_bit)] for n in range(10)]
        assert bits[0] == 0
        assert bits[9] == 1
        sent.append(sum(bit << n for n, bit in enumerate(bits[1:9])))
        starts.append(edge)
        place = edge + 9.5 * cycles_per_bit


@pytest.mark.parametrize("baud", BAUDS)
@pytest.mark.parametrize("stall", [0.0, 0.1])
def test_transmitter_sends_what_it_takes(baud, stall):
    rng = random.Random(baud)
    sent = [0x00, 0xFF, *(rng.randrange(256) for _ in range(15))]
    assert decoded(transmit(sent, baud, stall), CLOCK / baud)[0] == sent


@pytest.mark.parametrize("baud", BAUDS)
def test_transmitter_fills_the_line(baud):
    sent = [0x55] * 40
    _, starts = decoded(transmit(sent, baud), CLOCK / baud)
    assert (starts[-1] - starts[0]) / (len(sent) - 1) == pytest.approx(10 * CLOCK / baud, rel=1e-3)


def test_transmitter_waits_for_the_far_end_between_bytes():
    levels = transmit([1, 2, 3], 1_500_000, clear=lambda cycle: int(not 60 <= cycle < 500))
    sent, starts = decoded(levels, 8)
    assert sent == [1, 2, 3]
    assert not any(70 <= start < 500 for start in starts)


@pytest.mark.parametrize("clock", [12_000_000, 25_000_000, 48_000_000, 100_000_000, 133_333_333])
@pytest.mark.parametrize("baud", [9600, 115_200, 921_600, 3_000_000])
def test_divider_is_within_its_resolution(clock, baud):
    divider = BaudDivider(clock, baud)
    assert divider.step / (1 << divider.bits) * clock == pytest.approx(baud, rel=RESOLUTION)
    assert divider.bits <= 32


@pytest.mark.parametrize("baud", [0, -1, 3_000_001])
def test_impossible_baud_rate_is_refused(baud):
    with pytest.raises(ShapeError, match="use at most 3000000"):
        UartReceiver(CLOCK, baud)


@pytest.mark.parametrize("flow_control", [False, True])
def test_device_behind_its_pins(flow_control):
    """A SYNC in at RX, its answer out at TX; with flow control only once CTS is low."""
    shape = SpnShape((2, 2), height=2, max_length=4)
    folds = folds_for_interval(shape, 9)
    baud = CLOCK // 4
    dut = UartTop(shape, folds, CLOCK, baud, flow_control, engine=StubEngine(shape))
    request = Packet(Request.SYNC, 0, 0x4321, 0, b"")
    samples = waveform(list(encode(request)), 4) + [1] * 1600
    clear = 1200
    levels, rts = [], []

    async def bench(ctx):
        for cycle, sample in enumerate(samples):
            ctx.set(dut.rx, sample)
            if flow_control:
                ctx.set(dut.cts, cycle < clear)
                rts.append(ctx.get(dut.rts))
            _, _, level = await ctx.tick().sample(dut.tx)
            levels.append(level)

    simulator = Simulator(dut)
    simulator.add_clock(1 / CLOCK)
    simulator.add_testbench(bench)
    simulator.run()
    sent, starts = decoded(levels, 4)
    (reply,) = Deframer().feed(bytes(sent))
    assert reply == Packet(Request.SYNC | protocol.REPLY, Status.OK, 0x4321, 0, b"")
    assert (starts[0] > clear) == flow_control
    # The device takes every byte as it comes.
    assert sum(rts) <= len(encode(request))
