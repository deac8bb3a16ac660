"""A device at its byte interface in Amaranth's simulator, stepped from outside."""

from collections import deque
from collections.abc import Mapping

from amaranth.lib import wiring
from amaranth.sim import Simulator

PERIOD = 1e-6


class ByteBench:
    """Bytes into and out of a component with the ports of `ByteTop`.

    Parameters
    ----------
    top : component
    clocks : dict from domain to float
        Further clock domains: their frequency as a multiple of that of ``sync``.
    """

    def __init__(self, top: wiring.Component, clocks: Mapping[str, float] | None = None) -> None:
        self.cycles = 0
        self._sending: deque[int] = deque()
        self._received = bytearray()
        self._simulator = Simulator(top)
        self._simulator.add_clock(PERIOD)
        for domain, ratio in (clocks or {}).items():
            self._simulator.add_clock(PERIOD / ratio, domain=domain)

        async def pump(ctx):
            ctx.set(top.tx.ready, 1)
            while True:
                offered = bool(self._sending)
                ctx.set(top.rx.valid, offered)
                if offered:
                    ctx.set(top.rx.payload, self._sending[0])
                _, _, taken, valid, byte = await ctx.tick().sample(top.rx.ready, top.tx.valid, top.tx.payload)
                if offered and taken:
                    self._sending.popleft()
                if valid:
                    self._received.append(byte)

        self._simulator.add_testbench(pump, background=True)

    def send(self, data: bytes) -> None:
        """Queue bytes for the device."""
        self._sending.extend(data)

    def run(self, cycles: int) -> bytes:
        """Simulate, and give what has come from the device."""
        self.cycles += cycles
        self._simulator.run_until(self.cycles * PERIOD)
        received = bytes(self._received)
        self._received.clear()
        return received
