import pytest
from amaranth import Module, Mux, Signal
from amaranth.hdl import Shape
from amaranth.lib.memory import Memory
from link_session import SESSIONS, Session

from adakern_hw.blocks.ram import Ram


def pytest_configure(config):
    # A component whose constructor refuses its arguments was never going to be used.
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")


@pytest.fixture
def pessimistic_memories(monkeypatch):
    """Memories whose output is wrong where `Ram` promises nothing: at first, where a read meets a write."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = Memory(shape=self.shape, depth=self.depth, init=self.init)
        write, read = words.write_port(granularity=self.granularity), words.read_port(domain="comb")
        data = Signal(Shape.cast(self.shape).width, init=-1, reset_less=True)
        value = Signal.like(data)
        meet = self.write.en.any() & (self.write.addr == self.read.addr)
        m.d.comb += [
            write.addr.eq(self.write.addr),
            write.data.eq(self.write.data),
            write.en.eq(self.write.en),
            read.addr.eq(self.read.addr),
            value.eq(read.data),
            self.read.data.eq(data),
        ]
        with m.If(self.read.en):
            m.d.sync += data.eq(Mux(meet, ~value, value))
        return m

    monkeypatch.setattr(Ram, "elaborate", elaborate)


@pytest.fixture(params=SESSIONS)
def session(request):
    """With the engine at the link's clock, and at one of its own, as fast or faster; with a smaller link."""
    return Session(**SESSIONS[request.param])
