"""Bench for components with streams in Amaranth's simulator: one way to put, get and time."""

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from amaranth.hdl import Elaboratable
from amaranth.lib import data, stream
from amaranth.sim import Simulator

DEADLINE = 200_000
"""Cycles after which a bench counts as hung."""


def plain(value: Any) -> Any:
    """A sampled payload as integers, lists and dicts."""
    if not isinstance(value, data.Const):
        return value
    layout = value.shape()
    if isinstance(layout, data.ArrayLayout):
        return [plain(item) for item in value]
    return {name: plain(value[name]) for name, _ in layout}


class Bench:
    """Drives a component's streams, with random pauses on either side, and notes when they transfer.

    Parameters
    ----------
    dut : component
    seed : int
        Of the pauses.
    deadline : int
        Cycles until the bench fails.
    """

    def __init__(self, dut: Elaboratable, seed: int = 0, deadline: int = DEADLINE) -> None:
        self._random = random.Random(seed)
        self._deadline = deadline
        self._simulator = Simulator(dut)
        self._simulator.add_clock(1e-6)
        self.cycle = 0

    def add(self, process: Callable[[Any], Awaitable[None]]) -> None:
        """A process that the bench waits for."""
        self._simulator.add_testbench(process)

    def put(self, port: stream.Interface, payloads: Iterable[Any], stall: float = 0.0) -> None:
        """Process that sends ``payloads``."""

        async def process(ctx):
            await self.send(ctx, port, payloads, stall)

        self.add(process)

    def get(self, port: stream.Interface, count: int, stall: float = 0.0) -> list[Any]:
        """Process that receives ``count`` payloads into the list it returns."""
        received: list[Any] = []

        async def process(ctx):
            await self.receive(ctx, port, count, stall, received)

        self.add(process)
        return received

    def times(self, port: stream.Interface) -> list[int]:
        """List that fills with the cycle of each transfer."""
        cycles: list[int] = []

        async def process(ctx):
            async for _, _, valid, ready in ctx.tick().sample(port.valid, port.ready):
                if valid and ready:
                    cycles.append(self.cycle)

        self._simulator.add_testbench(process, background=True)
        return cycles

    async def send(self, ctx, port: stream.Interface, payloads: Iterable[Any], stall: float = 0.0) -> None:
        """Send ``payloads``, each after a pause of random length with probability ``stall`` per cycle."""
        for payload in payloads:
            await self.pause(ctx, stall)
            ctx.set(port.payload, payload)
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)

    async def receive(
        self, ctx, port: stream.Interface, count: int, stall: float = 0.0, into: list[Any] | None = None
    ) -> list[Any]:
        """Receive ``count`` payloads; fails if an offer changes or goes away before it is accepted."""
        received: list[Any] = [] if into is None else into
        target = len(received) + count
        offered = None
        while len(received) < target:
            ready = self._random.random() >= stall
            ctx.set(port.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
            assert offered is None or (valid and plain(payload) == offered), "an offer was withdrawn"
            offered = plain(payload) if valid and not ready else None
            if valid and ready:
                received.append(plain(payload))
        ctx.set(port.ready, 0)
        return received

    async def pause(self, ctx, stall: float) -> None:
        """Wait while a coin of probability ``stall`` says so."""
        while self._random.random() < stall:
            await ctx.tick()

    def run(self) -> None:
        """Run until every process has ended."""

        async def watch(ctx):
            async for _ in ctx.tick():
                self.cycle += 1
                assert self.cycle < self._deadline, f"no end after {self._deadline} cycles"

        self._simulator.add_testbench(watch, background=True)
        self._simulator.run()
