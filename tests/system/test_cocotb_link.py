"""cocotb benches of UART and framing against independent models: cocotbext-uart, cobs, crc32c."""

import random
from pathlib import Path

import crc32c
import pytest
from amaranth.hdl import Const, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from cobs import cobs

from adakern_hw.link.framing import FrameReceiver, FrameSender
from adakern_hw.link.layouts import HEADER, LINE_BYTE, PACKET_BYTE, Layouts
from adakern_hw.link.uart import UartReceiver, UartTransmitter
from adakern_sim.benches.plan import BenchPlan, StreamPlan
from adakern_sim.benches.runner import BenchFailed, run_bench
from adakern_sim.benches.stream_bench import PERIOD_NS
from adakern_spec import protocol

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("link bench models")]

STREAM_BENCH = "adakern_sim.benches.stream_bench"
UART_BENCH = "adakern_sim.benches.uart_bench"

ALWAYS_READY = ("idle", "stalled")
BIT_NS = 87
"""8.7 cycles: the divider is a fraction."""

CLOCK_HZ = 1_000_000_000 // PERIOD_NS


class UartPair(wiring.Component):
    """Receiver and transmitter of one line."""

    rx: In(1, init=1)
    tx: Out(1, init=1)
    received: Out(stream.Signature(LINE_BYTE))
    sent: In(stream.Signature(8))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        baud = 1_000_000_000 // BIT_NS
        m.submodules.receiver = receiver = UartReceiver(CLOCK_HZ, baud)
        m.submodules.transmitter = transmitter = UartTransmitter(CLOCK_HZ, baud)
        wiring.connect(m, receiver.bytes, wiring.flipped(self.received))
        wiring.connect(m, wiring.flipped(self.sent), transmitter.bytes)
        m.d.comb += [receiver.pin.eq(self.rx), self.tx.eq(transmitter.pin), transmitter.clear.eq(1)]
        return m


def packed(layout: data.Layout, value: object) -> int:
    return Const.cast(layout.const(value)).value & ((1 << layout.size) - 1)


def body(payload: bytes, rng: random.Random) -> bytes:
    """Header with arbitrary fields, payload, CRC."""
    header = bytes([*rng.randbytes(protocol.HEADER_SIZE - 2), *len(payload).to_bytes(2, "little")])
    return header + payload + crc32c.crc32c(header + payload).to_bytes(protocol.CRC_SIZE, "little")


def frame(content: bytes) -> bytes:
    return b"\0" + cobs.encode(content) + b"\0"


def random_payloads(seed: int, sizes: list[int]) -> list[bytes]:
    """Random ones, all zeros, and without a zero."""
    rng = random.Random(seed)
    payloads = [rng.randbytes(size) for size in sizes]
    payloads[1::3] = [bytes(len(payload)) for payload in payloads[1::3]]
    payloads[2::3] = [payload.replace(b"\0", b"\1") for payload in payloads[2::3]]
    return payloads


@pytest.mark.parametrize("seed", [1, 2])
def test_frame_sender(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    bodies = [body(payload, rng) for payload in random_payloads(seed, [0, 1, 5, 64, 64, 64, 33, 2])]
    packets = [content[: -protocol.CRC_SIZE] for content in bodies]
    plan = BenchPlan(
        (
            StreamPlan(
                "packet",
                True,
                tuple(
                    packed(PACKET_BYTE, {"data": byte, "last": index == len(packet) - 1})
                    for packet in packets
                    for index, byte in enumerate(packet)
                ),
            ),
            StreamPlan("bytes", False, tuple(b"".join(map(frame, bodies)))),
        ),
        seed,
        constants={"discard": 0},
    )
    run_bench(FrameSender(), STREAM_BENCH, tmp_path, plan)


@pytest.mark.parametrize("seed", [1, 2])
def test_frame_receiver(tmp_path: Path, seed: int) -> None:
    """Every third frame has a bit wrong ahead of its COBS code: its bytes are seen, its header is not."""
    rng = random.Random(seed)
    line, headers, contents = b"", [], []
    sizes = [0, 1, 5, 300, protocol.PAYLOAD_MAX, 254, 64, 33, 2, 0, 7, 9]
    for index, payload in enumerate(random_payloads(seed, sizes)):
        content = body(payload, rng)
        if index % 3 == 0:
            damaged = bytearray(content)
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            content = bytes(damaged)
        else:
            headers.append(int.from_bytes(content[: protocol.HEADER_SIZE], "little"))
        line += frame(content)
        contents.append(content[protocol.HEADER_SIZE :][: protocol.PAYLOAD_MAX])
    plan = BenchPlan(
        (
            StreamPlan("bytes", True, tuple(packed(LINE_BYTE, {"data": byte, "error": 0}) for byte in line)),
            StreamPlan("frames", False, tuple(headers), unreachable=("back_to_back",)),
            StreamPlan(
                "payload",
                False,
                tuple(
                    packed(Layouts(protocol.LINK).payload_byte, {"index": index, "data": byte})
                    for content in contents
                    for index, byte in enumerate(content)
                ),
                unreachable=ALWAYS_READY,
            ),
        ),
        seed,
        constants={"restart": 0},
    )
    assert HEADER.size == 8 * protocol.HEADER_SIZE
    run_bench(FrameReceiver(), STREAM_BENCH, tmp_path, plan)


def uart_plan(seed: int, source_bit_ns: int = BIT_NS) -> BenchPlan:
    rng = random.Random(seed)
    received = [0x00, 0xFF, 0x55, 0xAA, *rng.randbytes(40)]
    return BenchPlan(
        (
            StreamPlan("received", False, tuple(received), unreachable=("back_to_back",)),
            StreamPlan(
                "sent", True, (0x00, 0xFF, 0x55, 0xAA, *rng.randbytes(40)), unreachable=("back_to_back",)
            ),
        ),
        seed,
        settings={"bit_ns": BIT_NS, "source_bit_ns": source_bit_ns},
    )


@pytest.mark.parametrize("source_bit_ns", [BIT_NS, BIT_NS - 3, BIT_NS + 3])
def test_uart(tmp_path: Path, source_bit_ns: int) -> None:
    """Both directions at once, the far end's clock up to 3.4% off."""
    run_bench(UartPair(), UART_BENCH, tmp_path, uart_plan(1, source_bit_ns))


def test_uart_bench_sees_a_wrong_rate(tmp_path: Path) -> None:
    """The bench can fail: at 10% off the last bits of a byte are sampled in the wrong place."""
    with pytest.raises(BenchFailed, match="received: payload"):
        run_bench(UartPair(), UART_BENCH, tmp_path, uart_plan(2, BIT_NS * 9 // 10))
