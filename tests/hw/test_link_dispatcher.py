"""The dispatcher by itself: a time-out that meets it anywhere in a request."""

import pytest

from adakern.device import packets
from adakern_hw.link.dispatcher import Dispatcher
from adakern_hw.link.writer import Record
from adakern_sim.streams import Bench
from adakern_spec import protocol
from adakern_spec.akm import AkmLayer, AkmShape, Downsample
from adakern_spec.network import SpnShape
from adakern_spec.protocol import Request, Status

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

SHAPE = SpnShape((1, 1), height=3, max_length=20)
JOB = packets.Record(protocol.JOB_FIELDS)
NEVER = 1 << 16
FLUSH = 60
"""Cycles that the collector takes to fail the jobs without a result: longer than the requests below."""


class Timeline:
    """What passes the dispatcher's ports, by cycle.

    ``expired`` pulses ``delay`` cycles after the second of ``requests`` was taken; the jobs without a result
    fail in the `FLUSH` cycles after that.
    """

    def __init__(self, requests, delay=NEVER, shape=SHAPE):
        dut = Dispatcher(shape, timeout=1000)
        bench = Bench(dut)
        begin = {}
        # Of bytes, jobs, pending results, requests, aborts.
        self.times = [], [], [], [], []
        self.statuses = {}

        async def send(ctx):
            # A commit that any content passes.
            store = (dut.store_last, dut.store_bytes.valid, dut.store_settled)
            for port in (*store, dut.parameters.ready):
                ctx.set(port, 1)
            for slot, (kind, payload) in enumerate([(Request.PARAMETER_COMMIT, bytes(4)), *requests]):
                if slot == 1:
                    await ctx.tick().until(dut.requests.ready)
                request = {"type": kind, "length": len(payload), "slot": slot}
                await bench.send(ctx, dut.requests, [request])
                begin.setdefault(slot, bench.cycle)
                await bench.send(ctx, dut.data, payload)
            await ctx.tick().until(dut.requests.ready)
            await ctx.tick().repeat(20)

        async def collect(ctx):
            for port in (dut.replies, dut.bytes, dut.jobs, dut.pending):
                ctx.set(port.ready, 1)
            while True:
                expiry = begin.get(2, 1 << 16) + delay
                ctx.set(dut.expired, bench.cycle == expiry)
                ctx.set(dut.results_idle, not expiry - delay <= bench.cycle <= expiry + FLUSH)
                _, _, reply, replied, *passed = await ctx.tick().sample(
                    dut.replies.payload,
                    dut.replies.valid,
                    dut.bytes.valid,
                    dut.jobs.valid,
                    dut.pending.valid,
                    dut.requests.valid & dut.requests.ready,
                    dut.abort,
                )
                for times, happens in zip(self.times, passed, strict=True):
                    if happens:
                        times.append(bench.cycle)
                if replied:
                    failed = reply["record"] == Record.ERROR
                    self.statuses[reply["slot"]] = Status.ERROR if failed else Status.OK

        bench._simulator.add_testbench(collect, background=True)
        bench.add(send)
        bench.run()


def test_a_map_that_leaves_a_later_layer_nothing_is_refused():
    layers = (AkmLayer(2, downsample=Downsample.MAX2), AkmLayer(2, downsample=Downsample.STRIDE2))
    shape = AkmShape(1, 4, (*layers, AkmLayer(2)), 2, max_length=20)
    for length in range(1, 5):
        statuses = Timeline([(Request.JOB, JOB.pack(1, length))], shape=shape).statuses
        assert statuses[1] == (Status.OK if length >= 2 else Status.ERROR)


@pytest.mark.parametrize("delay", range(2, 36))
def test_nothing_executes_between_a_time_out_and_the_last_failed_job(delay):
    requests = [
        (Request.JOB, JOB.pack(1, 3)),
        (Request.DATA, bytes(5)),
        (Request.JOB, JOB.pack(2, 1)),
        (Request.DATA, bytes(3)),
    ]
    timeline = Timeline(requests, delay)
    (abort,) = timeline.times[4]
    for times in timeline.times[:4]:
        assert not [time for time in times if abort < time <= abort + FLUSH - 2]
    _, jobs, _, taken, _ = timeline.times
    after = [len([time for time in times if time > abort]) for times in timeline.times[:3]]
    # The second job, if it is opened behind the time-out, runs as if nothing had happened.
    opened = timeline.statuses[3] == Status.OK and jobs[-1] > abort
    assert after == ([3, 1, 1] if opened else [0, 0, 0])
    assert opened or taken[3] < abort
