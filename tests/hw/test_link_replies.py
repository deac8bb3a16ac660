import pytest

from adakern_hw.link.replies import ReplyStore
from adakern_sim.streams import Bench
from adakern_spec import protocol
from adakern_spec.protocol import Request, Status

pytestmark = pytest.mark.usefixtures("pessimistic_memories")

EPOCH = 0x1234


class Store:
    """A reply store with a receiver that keeps whole packets and forgets discarded ones."""

    def __init__(self, script):
        self.dut = ReplyStore()
        self.bench = Bench(self.dut, deadline=20_000)
        self.response_times = self.bench.times(self.dut.parts)
        self.packet_times = self.bench.times(self.dut.packet)
        self.packets = []
        self.partial = bytearray()
        ended = []

        async def drive(ctx):
            ctx.set(self.dut.epoch, EPOCH)
            await script(self, ctx)
            await ctx.tick().repeat(200)
            ended.append(True)

        async def collect(ctx):
            ctx.set(self.dut.packet.ready, 1)
            while not ended:
                _, _, valid, byte, discard = await ctx.tick().sample(
                    self.dut.packet.valid, self.dut.packet.payload, self.dut.discard
                )
                if discard:
                    self.partial.clear()
                elif valid:
                    self.partial.append(byte["data"])
                    if byte["last"]:
                        self.packets.append(bytes(self.partial))
                        self.partial.clear()

        self.bench.add(drive)
        self.bench.add(collect)
        self.bench.run()

    async def pulse(self, ctx, port, payload=None):
        if payload is not None:
            ctx.set(port.payload, payload)
            port = port.valid
        ctx.set(port, 1)
        await ctx.tick()
        ctx.set(port, 0)

    async def accept(self, ctx, sequence, kind=Request.PARAMETER_READ):
        slot = sequence % protocol.WINDOW
        await self.pulse(ctx, self.dut.accepted, {"type": kind, "sequence": sequence, "slot": slot})

    async def reply(self, ctx, sequence, payload):
        slot = sequence % protocol.WINDOW
        parts = [
            {"slot": slot, "index": index, "data": byte, "final": 0} for index, byte in enumerate(payload)
        ]
        parts.append({"slot": slot, "index": len(payload), "data": Status.OK, "final": 1})
        await self.bench.send(ctx, self.dut.parts, parts)


def packet(sequence, payload=b"", status=Status.OK, kind=Request.PARAMETER_READ):
    header = [
        kind | protocol.REPLY,
        status,
        EPOCH & 0xFF,
        EPOCH >> 8,
        sequence & 0xFF,
        sequence >> 8,
        len(payload),
        0,
    ]
    return bytes(header) + payload


def test_reply_is_sent_once_and_again_when_asked():
    async def script(store, ctx):
        await store.accept(ctx, 3)
        await store.reply(ctx, 3, b"three")
        await ctx.tick().repeat(60)
        await store.pulse(ctx, store.dut.repeated, 3)

    assert Store(script).packets == [packet(3, b"three")] * 2


def test_unfinished_request_is_busy():
    async def script(store, ctx):
        await store.accept(ctx, 3)
        await store.pulse(ctx, store.dut.repeated, 3)
        await ctx.tick().repeat(40)
        await store.reply(ctx, 3, b"three")

    assert Store(script).packets == [packet(3, status=Status.BUSY), packet(3, b"three")]


@pytest.mark.parametrize("wait", range(1, 150, 3))
def test_reply_that_is_overtaken_while_it_is_read_out_is_never_mixed(wait):
    """The slot's next request is accepted and answered at any moment of the old reply's second sending."""
    old, new = bytes([1] * 40), bytes([2] * 40)

    async def script(store, ctx):
        await store.accept(ctx, 3)
        await store.reply(ctx, 3, old)
        await ctx.tick().repeat(110)
        await store.pulse(ctx, store.dut.repeated, 3)
        await ctx.tick().repeat(wait)
        await store.accept(ctx, 3 + protocol.WINDOW)
        await store.reply(ctx, 3 + protocol.WINDOW, new)
        await ctx.tick().repeat(150)
        await store.pulse(ctx, store.dut.repeated, 3)

    store = Store(script)
    assert set(store.packets) <= {
        packet(3, old),
        packet(3 + protocol.WINDOW, new),
        packet(3 + protocol.WINDOW, status=Status.BUSY),
    }
    assert store.packets[-1] == packet(3 + protocol.WINDOW, new)


def test_new_epoch_forgets_what_was_to_be_sent():
    async def script(store, ctx):
        for sequence in (1, 2, 3):
            await store.accept(ctx, sequence)
            await store.reply(ctx, sequence, b"old")
        ctx.set(store.dut.restart, 1)
        ctx.set(store.dut.synchronised, 1)
        await ctx.tick()
        ctx.set(store.dut.restart, 0)
        ctx.set(store.dut.synchronised, 0)
        await ctx.tick().repeat(100)
        assert ctx.get(store.dut.finished) == 0

    sent = Store(script).packets
    # The first was out before the restart, the second was discarded half-way.
    assert sent[-1] == packet(0, kind=Request.SYNC)
    assert all(each == packet(1, b"old") for each in sent[:-1])


def test_reply_store_cycles():
    async def script(store, ctx):
        await store.accept(ctx, 3)
        await ctx.tick().repeat(5)
        await store.reply(ctx, 3, b"three")

    store = Store(script)
    assert store.packet_times[0] - store.response_times[-1] == 4
    assert store.packet_times[-1] - store.packet_times[0] == protocol.HEADER_SIZE - 1 + 3 * len(b"three")
