"""cocotb bench: a component whose streams do what the plan says."""

from typing import Any

import cocotb
from cocotb.clock import Clock

from .handshake import run_plan
from .plan import BenchPlan

PERIOD_NS = 10


@cocotb.test()
async def streams(dut: Any) -> None:
    """All payloads in order, the stream rules, every situation of every handshake."""
    Clock(dut.clk, PERIOD_NS, "ns").start()
    await run_plan(dut, BenchPlan.read())
