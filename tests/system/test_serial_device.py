"""The serial device on real ports: pseudo-terminals with the Verilated UART, or with nobody, behind them."""

import errno
import os
import pty
import signal
import subprocess
import sys
import tty
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import serial

from adakern.akm_parameters import AkmParameters, kernels_of
from adakern.device.emulator import EmulatorDevice
from adakern.device.link import DeviceSilent
from adakern.device.packet_device import ADDRESS, BatchInterrupted
from adakern.device.serial import SerialTransport, open_serial
from adakern.device.verilator import open_pty
from adakern.parameters import SpnParameters
from adakern_sim.model import LineFaults, UartModel
from adakern_sim.serial_port import SerialPort
from adakern_sim.tops import uart_model
from adakern_spec import networks
from adakern_spec.akm import AkmLayer, AkmShape, Downsample
from adakern_spec.digest import spec_digest
from adakern_spec.errors import DeviceError
from adakern_spec.network import SpnShape, folds_for_budget
from adakern_spec.protocol import Request

pytestmark = pytest.mark.xdist_group("serial model")

SHAPE = SpnShape((2, 4, 2), height=5, max_length=64)
FOLDS = folds_for_budget(SHAPE, 16)
CLOCK_HZ = 12_000_000
BAUD = 3_000_000

PARAMETERS = SpnParameters.random(SHAPE, np.random.default_rng(1))
RNG = np.random.default_rng(2)
MAPS = [RNG.integers(0, 256, (2, 5, int(length)), np.uint8) for length in RNG.integers(1, 65, 30)]


@pytest.fixture
def model() -> UartModel:
    return uart_model(SHAPE, FOLDS, CLOCK_HZ, BAUD)


@pytest.fixture
def port(model: UartModel) -> Iterator[SerialPort]:
    with SerialPort(model) as opened:
        yield opened


@pytest.fixture
def dead_end() -> Iterator[str]:
    """A port that nobody listens to."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


@pytest.fixture(scope="module")
def expected() -> list:
    emulator = EmulatorDevice(SHAPE, FOLDS)
    emulator.load(PARAMETERS)
    return list(emulator.stream(MAPS))


@pytest.mark.slow
def test_equals_the_reference(port: SerialPort, expected: list) -> None:
    with open_serial(port.path, BAUD, SHAPE) as device:
        device.load(PARAMETERS, verify=True)
        assert list(device.stream(MAPS)) == expected
        assert device.url == f"serial:{port.path}?baud={BAUD}"


@pytest.mark.slow
def test_port_can_be_opened_again(port: SerialPort, expected: list) -> None:
    """The second host finds the parameters in place and its own epoch."""
    for _ in range(2):
        with open_serial(port.path, BAUD, SHAPE) as device:
            device.load(PARAMETERS)
            assert list(device.stream(MAPS[:3])) == expected[:3]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["stop_error", "noise", "drop", "insert"])
def test_line_faults_cost_time_and_no_answer(model: UartModel, fault: str, expected: list) -> None:
    model.set_faults(LineFaults(**{fault: 1e-3}, seed=5))
    with SerialPort(model) as port, open_serial(port.path, BAUD, SHAPE) as device:
        device.load(PARAMETERS)
        assert list(device.stream(MAPS)) == expected
        assert device.link.repeated > 0


@pytest.mark.slow
def test_unplugged_in_mid_batch_keeps_what_was_answered(model: UartModel, expected: list) -> None:
    answers = []
    port = SerialPort(model)

    def collect() -> None:
        with open_serial(port.path, BAUD, SHAPE) as device:
            device.load(PARAMETERS)
            for answer in device.stream(MAPS):
                answers.append(answer)
                if len(answers) == 10:
                    port.close()

    with pytest.raises(BatchInterrupted, match=f"{port.path}: port is gone .*; plug the board in") as loss:
        collect()
    assert loss.value.done == len(answers) >= 10
    assert answers == expected[: len(answers)]
    with open_pty(SHAPE, FOLDS, CLOCK_HZ, BAUD) as device:
        device.load(PARAMETERS)
        assert answers + list(device.stream(MAPS[len(answers) :])) == expected


@pytest.mark.slow
def test_another_shape_is_refused_with_both_digests(port: SerialPort) -> None:
    other = SpnShape((2, 4, 2), height=4, max_length=64)
    with pytest.raises(DeviceError, match=spec_digest(SHAPE).hex()) as refusal:
        open_serial(port.path, BAUD, other)
    assert spec_digest(other).hex() in str(refusal.value)
    # The port is free again.
    serial.Serial(port.path, exclusive=True).close()


@pytest.mark.slow
def test_adaptation_over_the_port_lies_between_two_maps_and_outlives_the_host() -> None:
    """A kernel modulation network; the adaptation of a host that is cut off half way counts for nothing."""
    shape = AkmShape(1, 6, (AkmLayer(4, downsample=Downsample.MAX2),), 3, radius=2, max_length=12)
    folds = networks.folds_for_budget(shape, 16)
    rng = np.random.default_rng(3)
    old = AkmParameters.random(shape, rng).with_kernels(kernels_of(shape, [0.9], [2.0]))
    r, s = [[0.1, 0.4, 0.7, 0.99]], [[-1.0, 0.0, 1.0, 2.0]]
    new = old.with_kernels(kernels_of(shape, r, s))
    maps = [rng.integers(0, 256, (1, 6, length), np.uint8) for length in (2, 12, 5, 12, 9, 7)]
    answers = {}
    for parameters in (old, new):
        emulator = EmulatorDevice(shape, folds)
        emulator.load(parameters)
        answers[parameters.crc] = list(emulator.stream(maps))

    with SerialPort(uart_model(shape, folds, CLOCK_HZ, BAUD)) as port:
        with open_serial(port.path, BAUD, shape) as device:
            device.load(old)

            def source() -> Iterator[np.ndarray]:
                yield from maps[:3]
                device.adapt(r, s)
                yield from maps[3:]

            assert list(device.stream(source())) == answers[old.crc][:3] + answers[new.crc][3:]
            block = old.to_block()
            device.link.request(Request.PARAMETER_WRITE, ADDRESS.pack(len(block) - 20) + block[-20:])
        with open_serial(port.path, BAUD, shape) as device:
            assert device.identity()["parameter_crc"] == new.crc
            device.load(new)
            assert list(device.stream(maps)) == answers[new.crc]
            device.adapt([0.9], [2.0])
            assert list(device.stream(maps)) == answers[old.crc]


@pytest.mark.slow
def test_served_by_a_process_of_its_own(model: UartModel, expected: list) -> None:
    """``python -m adakern_sim.serial_port`` prints the port and serves it until interrupted."""
    model.close()
    options = {
        "channels": ",".join(map(str, SHAPE.channels)),
        "height": SHAPE.height,
        "max-length": SHAPE.max_length,
        "multipliers": 16,
        "clock": CLOCK_HZ,
        "baud": BAUD,
    }
    command = [sys.executable, "-m", "adakern_sim.serial_port", *(f"--{k}={v}" for k, v in options.items())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        path = server.stdout.readline().strip()
        with open_serial(path, BAUD, SHAPE) as device:
            device.load(PARAMETERS)
            assert list(device.stream(MAPS[:5])) == expected[:5]
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


def test_server_refuses_an_impossible_network() -> None:
    command = [sys.executable, "-m", "adakern_sim.serial_port", "--channels", "2,5"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "network shape: 5 outputs; end with 2 (height, length) or 1 (shared scale)\n"


def test_absent_port_names_those_there_are() -> None:
    with pytest.raises(DeviceError, match=r"^/dev/nowhere: no such port; ports of this machine: "):
        open_serial("/dev/nowhere", BAUD, SHAPE)


def test_busy_port(dead_end: str) -> None:
    with (
        serial.Serial(dead_end, exclusive=True),
        pytest.raises(DeviceError, match=f"^{dead_end}: port is busy; close the program"),
    ):
        open_serial(dead_end, BAUD, SHAPE)


def test_forbidden_port_names_the_group(dead_end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise serial.SerialException(errno.EACCES, "could not open port")

    monkeypatch.setattr(serial, "Serial", refuse)
    group = Path(dead_end).group()
    with pytest.raises(DeviceError, match=f"^{dead_end}: no permission; add your user to the group {group}"):
        open_serial(dead_end, BAUD, SHAPE)


def test_file_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeviceError, match="file: not a usable serial port"):
        open_serial(str(tmp_path / "file"), BAUD, SHAPE)


def test_impossible_rate(dead_end: str) -> None:
    with pytest.raises(DeviceError, match="baud rate -1 is not possible"):
        open_serial(dead_end, -1, SHAPE)


def test_silent_device_is_given_up(dead_end: str) -> None:
    with pytest.raises(DeviceSilent, match=f"^{dead_end}: device silent: .*check power, cable"):
        open_serial(dead_end, BAUD, SHAPE)


def test_line_that_takes_nothing_is_given_up(dead_end: str) -> None:
    """Nobody empties the terminal: once it is full, writing ends in an error."""
    transport = SerialTransport(dead_end, BAUD)
    with pytest.raises(DeviceError, match=f"^{dead_end}: takes no data"):
        transport.write(bytes(1 << 16))
    transport.close()


def test_closed_transport_is_gone(dead_end: str) -> None:
    transport = SerialTransport(dead_end, BAUD)
    transport.close()
    transport.close()
    with pytest.raises(DeviceError, match="port is gone"):
        transport.read(0.01)
