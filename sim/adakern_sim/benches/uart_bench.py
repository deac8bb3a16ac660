"""cocotb bench: a UART against the independent model of cocotbext-uart on its pins.

Settings of the plan: ``bit_ns`` is the line's bit time, ``source_bit_ns`` that of the far end's
sender, which may be off.
"""

from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import with_timeout
from cocotbext.uart import UartSink, UartSource

from .handshake import run_plan
from .plan import BenchPlan
from .stream_bench import PERIOD_NS

NS_PER_SECOND = 1_000_000_000


def baud(bit_ns: int) -> int:
    """The rate whose bit time is exactly that many nanoseconds in cocotbext-uart, which rounds down."""
    return NS_PER_SECOND // bit_ns


@cocotb.test()
async def both_directions(dut: Any) -> None:
    """Bytes on ``rx`` come out of the stream ``received``, those of ``sent`` on ``tx``."""
    plan = BenchPlan.read()
    bit_ns, source_bit_ns = plan.settings["bit_ns"], plan.settings["source_bit_ns"]
    source, sink = UartSource(dut.rx, baud(source_bit_ns)), UartSink(dut.tx, baud(bit_ns))
    Clock(dut.clk, PERIOD_NS, "ns").start()
    source.write_nowait(plan.stream("received").payloads)
    await run_plan(dut, plan)
    expected = bytes(plan.stream("sent").payloads)
    while sink.count() < len(expected):
        await with_timeout(sink.sync.wait(), 30 * bit_ns, "ns")
        sink.sync.clear()
    arrived = bytes(sink.read_nowait())
    assert arrived == expected, f"tx: {arrived.hex()}, expected {expected.hex()}"
