"""The C++ harnesses and the pseudo-terminal, against devices whose behaviour is a closed formula."""

import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_sim.model import RECEIVE_SIZE, ByteModel, LineFaults, UartModel
from adakern_sim.serial_port import SerialPort
from adakern_sim.verilate import Build, to_verilog

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("harness")]

INTERVAL = 4
"""Cycles per byte of `Incrementer`."""

CYCLES_PER_BIT = 4.25
"""Not a whole number, as with a fractional divider."""

BITS_PER_BYTE = 10


class Incrementer(wiring.Component):
    """Takes a byte every `INTERVAL` cycles and gives it back, plus one, in the cycle after."""

    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phase = Signal(range(INTERVAL))
        m.d.sync += self.tx.valid.eq(0)
        m.d.comb += self.rx.ready.eq(phase == 0)
        with m.If(phase != 0):
            m.d.sync += phase.eq(phase - 1)
        with m.Elif(self.rx.valid):
            m.d.sync += [phase.eq(INTERVAL - 1), self.tx.valid.eq(1), self.tx.payload.eq(self.rx.payload + 1)]
        return m


class Wire(wiring.Component):
    """Two registers between the pins of a UART."""

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        between = Signal(init=1)
        m.d.sync += [between.eq(self.rx), self.tx.eq(between)]
        return m


@pytest.fixture(scope="module")
def byte_library() -> Path:
    return Build(to_verilog(Incrementer())).library()


@pytest.fixture(scope="module")
def uart_library() -> Path:
    return Build(
        to_verilog(Wire()), "harness_uart.cpp", defines=(f"CYCLES_PER_BIT={CYCLES_PER_BIT}",)
    ).library()


@pytest.fixture
def byte_model(byte_library: Path) -> Iterator[ByteModel]:
    with ByteModel(byte_library) as model:
        yield model


@pytest.fixture
def uart_model(uart_library: Path) -> Iterator[UartModel]:
    with UartModel(uart_library) as model:
        yield model


def incremented(data: bytes) -> bytes:
    return bytes((byte + 1) & 0xFF for byte in data)


def processor_share(seconds: float) -> float:
    """Share of one processor that this process takes while the caller sleeps."""
    before = time.process_time()
    time.sleep(seconds)
    return (time.process_time() - before) / seconds


def test_cycles_are_counted(byte_model: ByteModel) -> None:
    start = byte_model.cycles
    assert byte_model.run(b"", 1000) == (0, b"")
    assert byte_model.cycles == start + 1000


def test_valid_and_ready_are_honoured(byte_model: ByteModel) -> None:
    """Byte i is taken in cycle i·INTERVAL and comes back one cycle later."""
    data = random.Random(1).randbytes(500)
    used, arrived = byte_model.run(data, 100 * INTERVAL)
    assert (used, arrived) == (100, incremented(data[:100]))
    assert byte_model.run(data[used:], 1) == (1, b"")
    assert byte_model.run(data[used + 1 :], 1) == (0, incremented(data[used : used + 1]))


def test_stops_on_frame(byte_model: ByteModel) -> None:
    """A delimiter ends a frame only after data, and the state lasts from call to call."""
    start = byte_model.cycles
    used, arrived = byte_model.run(bytes([0xFF, 0xFF, 5, 0xFF, 7]), 1000, stop_on_frame=True)
    assert arrived == bytes([0, 0, 6, 0])
    assert byte_model.cycles == start + 3 * INTERVAL + 2
    assert byte_model.run(b"\x08", INTERVAL * 2, stop_on_frame=True) == (1, b"\x09")
    assert byte_model.run(b"\xff\x01", 1000, stop_on_frame=True)[1] == b"\x00"
    assert used == 4


def test_a_full_buffer_loses_nothing(byte_model: ByteModel) -> None:
    data = random.Random(2).randbytes(RECEIVE_SIZE + 1000)
    used, first = byte_model.run(data, 1 << 30)
    assert len(first) == RECEIVE_SIZE
    assert first + byte_model.run(data[used:], 10_000)[1] == incremented(data)


def test_waveform(tmp_path: Path) -> None:
    build = Build(to_verilog(Incrementer()), trace=True)
    with ByteModel(build.library(), tmp_path / "wave.vcd") as model:
        model.run(b"a", 10)
    wave = (tmp_path / "wave.vcd").read_text()
    assert "rx__payload" in wave
    assert f"b{ord('b'):08b} " in wave


def test_uart_runs_at_its_bit_time(uart_model: UartModel) -> None:
    data = random.Random(3).randbytes(2000)
    cycles = int(len(data) * BITS_PER_BYTE * CYCLES_PER_BIT)
    # A byte is known about the middle of its stop bit, two cycles of the wire later: within a bit of its end.
    bit = math.ceil(CYCLES_PER_BIT)
    assert uart_model.run(data, cycles + bit) == (len(data), data)
    assert uart_model.run(data, cycles - bit) == (len(data), data[:-1])
    assert uart_model.framing_errors == 0


def test_uart_faults(uart_library: Path) -> None:
    """Stop errors are seen as such; lost and inserted bytes leave the others alone; a seed repeats."""
    data = random.Random(4).randbytes(4000)
    cycles = int(2 * len(data) * BITS_PER_BYTE * CYCLES_PER_BIT)

    def send(faults: LineFaults) -> tuple[bytes, int]:
        with UartModel(uart_library) as model:
            model.set_faults(faults)
            return model.run(data, cycles)[1], model.framing_errors

    def is_subsequence(short: bytes, long: bytes) -> bool:
        rest = iter(long)
        return all(byte in rest for byte in short)

    arrived, errors = send(LineFaults(stop_error=0.02, seed=1))
    assert errors == len(data) - len(arrived) > 40
    assert is_subsequence(arrived, data)
    arrived, errors = send(LineFaults(drop=0.02, seed=2))
    assert errors == 0
    assert 40 < len(data) - len(arrived) < 160
    assert is_subsequence(arrived, data)
    arrived, errors = send(LineFaults(insert=0.02, seed=3))
    assert errors == 0
    assert 40 < len(arrived) - len(data) < 160
    assert is_subsequence(data, arrived)
    arrived, errors = send(LineFaults(noise=0.02, seed=4))
    assert arrived != data
    assert len(arrived) > 0.9 * len(data)
    assert send(LineFaults(noise=0.02, seed=4)) == (arrived, errors)


def test_uart_break(uart_model: UartModel) -> None:
    uart_model.send_break(20)
    _, arrived = uart_model.run(b"after", 1000)
    assert arrived == b"after"
    assert uart_model.framing_errors == 1


def test_port_carries_bytes_and_outlives_its_user(uart_library: Path) -> None:
    data = random.Random(5).randbytes(20_000)
    with SerialPort(UartModel(uart_library)) as port:
        for part in (data[:10_000], data[10_000:]):
            with serial.Serial(port.path, timeout=20, exclusive=True) as user:
                user.write(part)
                assert user.read(len(part)) == part


def test_idle_port_sleeps(uart_library: Path) -> None:
    """Once the device has nothing more to say the thread takes no processor time."""
    with SerialPort(UartModel(uart_library)) as port, serial.Serial(port.path, timeout=20) as user:
        user.write(b"a")
        assert user.read(1) == b"a"
        deadline = time.monotonic() + 60
        while (share := processor_share(0.5)) > 0.02:
            assert time.monotonic() < deadline, f"still takes {share:.0%} of a processor"
        user.write(b"b")
        assert user.read(1) == b"b"


def test_unplugged_port_vanishes(uart_library: Path) -> None:
    port = SerialPort(UartModel(uart_library))
    with serial.Serial(port.path, timeout=20) as user:
        port.close()
        with pytest.raises(serial.SerialException):
            user.read(1)
    assert not os.path.exists(port.path)
    port.close()
