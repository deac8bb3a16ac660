"""Maps through an engine in Amaranth's simulator."""

from collections.abc import Mapping, Sequence

import numpy as np
from amaranth import Signal

from adakern_hw.engines.engine import Engine
from adakern_sim.pixels import pixels
from adakern_sim.streams import Bench

SETTLED = 4
"""Cycles for the last parameter byte to reach its memory."""


class EngineRun:
    """Parameters ``block``, then ``maps`` [C, H, L], in one go: results, when they and the pixels came.

    ``stall``: chance per cycle that a pixel or a job is late, ``result_stall``: that a result is not taken.
    ``pauses``: cycles to wait ahead of the pixel of an index.
    """

    def __init__(
        self,
        dut: Engine,
        block: bytes,
        maps: Sequence[np.ndarray],
        seed: int = 0,
        stall: float = 0.0,
        result_stall: float = 0.0,
        pauses: Mapping[int, int] | None = None,
    ) -> None:
        self.maps = maps
        bench = Bench(dut, seed)
        loaded = Signal()

        async def feed(ctx):
            await bench.send(ctx, dut.parameters, block)
            await ctx.tick().repeat(SETTLED)
            ctx.set(loaded, 1)
            stream = [pixel for values in maps for pixel in pixels(values)]
            for index, pixel in enumerate(stream):
                if pauses and index in pauses:
                    await ctx.tick().repeat(pauses[index])
                await bench.send(ctx, dut.pixels, [pixel], stall)

        async def jobs(ctx):
            while not ctx.get(loaded):
                await ctx.tick()
            await bench.send(ctx, dut.jobs, [values.shape[2] for values in maps], stall)

        bench.add(feed)
        bench.add(jobs)
        self.results = bench.get(dut.results, len(maps), result_stall)
        self.pixel_times = bench.times(dut.pixels)
        self.result_times = bench.times(dut.results)
        bench.run()

    @property
    def starts(self) -> list[int]:
        """Cycles in which the first pixel of each map was taken."""
        counts = np.cumsum([0] + [values[0].size for values in self.maps[:-1]])
        return [self.pixel_times[count] for count in counts]
