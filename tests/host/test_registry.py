"""Devices by URL, and the choice if none is named."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import adakern
from adakern import registry
from adakern.artifact import Artifact
from adakern.device.emulator import EmulatorDevice
from adakern.reference.spn import run_spn
from adakern_spec.cycles import latency
from adakern_spec.errors import DeviceError
from adakern_spec.network import REFERENCE, SpnShape, folds_for_budget


def test_model_gives_shape_and_parameters(model: Path, small_artifact: Artifact) -> None:
    shape = small_artifact.shape
    maps = np.random.default_rng(0).integers(0, 256, (2, 3, shape.height, 9), np.uint8)
    lengths = np.array([9, 4])
    expected = run_spn(small_artifact.parameters, maps, lengths)
    for given in (model, str(model), small_artifact):
        with adakern.open("emulator:", given) as device:
            assert device.shape == shape
            found = device.predict(maps, lengths)
        np.testing.assert_array_equal(found.scales, expected.scales)
        np.testing.assert_array_equal(found.kernels, expected.kernels)


def test_reference_shape_without_a_model() -> None:
    with adakern.open("emulator:") as device:
        assert device.shape == REFERENCE
        with pytest.raises(DeviceError, match="load a model first"):
            list(device.stream([np.zeros((8, 16, 3), np.uint8)]))


def test_budget_comes_from_the_url_ahead_of_the_argument(model: Path, small_artifact: Artifact) -> None:
    shape = small_artifact.shape
    maps, lengths = np.zeros((1, 3, shape.height, 9), np.uint8), np.array([9])
    for url, multipliers in (("emulator:", 7), ("emulator:?multipliers=20", 20)):
        with adakern.open(url, model, multipliers=7) as device:
            cycles = device.predict(maps, lengths).cycles
        assert cycles.tolist() == [latency(shape, folds_for_budget(shape, multipliers), 9)]


@pytest.mark.parametrize(
    ("url", "name", "path", "settings"),
    [
        ("emulator:", "emulator", "", registry.Settings(multipliers=5)),
        ("verilator:?trace=a%20b.vcd&clock=12", "verilator", "", registry.Settings(5, 12, trace="a b.vcd")),
        ("pty:?baud=9600&multipliers=8", "pty", "", registry.Settings(8, baud=9600)),
        ("serial:/dev/ttyUSB0", "serial", "/dev/ttyUSB0", registry.Settings(multipliers=5)),
        ("serial:COM3?baud=115200", "serial", "COM3", registry.Settings(5, baud=115200)),
    ],
)
def test_urls(url: str, name: str, path: str, settings: registry.Settings) -> None:
    scheme, found_path, found = registry.parse(url, multipliers=5)
    assert (scheme.name, found_path, found) == (name, path, settings)


def test_device_is_closed_if_the_model_does_not_load(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[EmulatorDevice] = []

    def refuse(self: EmulatorDevice, parameters: Any) -> None:
        raise DeviceError("no", "emulator:")

    monkeypatch.setattr(EmulatorDevice, "load", refuse)
    monkeypatch.setattr(EmulatorDevice, "close", lambda self: closed.append(self))
    with pytest.raises(DeviceError):
        adakern.open("emulator:", model)
    assert len(closed) == 1


class Machine:
    """A machine with these serial ports, USB or not, of which some answer; and with or without tools."""

    def __init__(
        self, patch: pytest.MonkeyPatch, ports: dict[str, bool], answering: str, tools: bool
    ) -> None:
        self.asked: list[str] = []
        self.said: list[str] = []
        self.answering = answering
        entries = [SimpleNamespace(device=port, vid=0x0403 if usb else None) for port, usb in ports.items()]
        patch.setattr("serial.tools.list_ports.comports", lambda: entries)
        patch.setattr("adakern.device.serial.open_serial", self.open_serial)
        patch.setattr("adakern.device.verilator.open_verilator", self.open_verilator)
        patch.setattr("shutil.which", lambda name, path=None: "/usr/bin/g++" if tools else None)

    def open_serial(self, port: str, baud: int, shape: SpnShape) -> EmulatorDevice:
        self.asked.append(port)
        if port != self.answering:
            raise DeviceError("spec digest 01, expected 02", port, "use another bitstream")
        return self.named(f"serial:{port}?baud={baud}", shape)

    def open_verilator(self, shape: SpnShape, folds: Any, **options: Any) -> EmulatorDevice:
        return self.named("verilator:", shape)

    @staticmethod
    def named(url: str, shape: SpnShape) -> EmulatorDevice:
        device = EmulatorDevice(shape, folds_for_budget(shape, 144))
        device.url = url
        return device

    def open(self, model: Path) -> str:
        with adakern.open(model=model, status=self.said.append) as device:
            return device.url


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    def make(ports: dict[str, bool], answering: str = "", tools: bool = True) -> Machine:
        return Machine(monkeypatch, ports, answering, tools)

    return make


PORTS = {"/dev/ttyS0": False, "/dev/ttyUSB0": True, "/dev/ttyUSB1": True}


def test_serial_board_with_the_right_digest_comes_first(machine: Callable[..., Machine], model: Path) -> None:
    here = machine(PORTS, answering="/dev/ttyUSB1")
    assert here.open(model) == "serial:/dev/ttyUSB1?baud=3000000"
    assert here.asked == ["/dev/ttyUSB0", "/dev/ttyUSB1"], "the port that may be a console is not written to"
    assert "/dev/ttyUSB0: spec digest 01, expected 02" in here.said[0]
    assert here.said[-1] == "device serial:/dev/ttyUSB1?baud=3000000"


def test_verilator_comes_second(machine: Callable[..., Machine], model: Path) -> None:
    here = machine(PORTS)
    assert here.open(model) == "verilator:"
    assert here.said[-1].startswith("device verilator: ")


def test_emulator_comes_last(machine: Callable[..., Machine], model: Path) -> None:
    here = machine({}, tools=False)
    assert here.open(model) == "emulator:"
    assert here.asked == []
    assert here.said[-1].startswith("device emulator: ")
    assert "g++" in here.said[-1]


def test_choice_is_said_where_no_log_is_set_up(
    machine: Callable[..., Machine], model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine({}, tools=False)
    adakern.open(model=model).close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.records[0].getMessage().startswith("device emulator: ")
    caplog.clear()
    adakern.open("emulator:", model).close()
    assert not caplog.records


def test_command_says_which_device_it_chose(
    machine: Callable[..., Machine], cli: Callable[..., Any], model: Path, fasta: Path
) -> None:
    machine({}, tools=False)
    outcome = cli("predict", model, fasta, "--json")
    assert outcome.status == 0
    assert outcome.err.startswith("device emulator: ")


def test_devices_lists_who_answers(
    machine: Callable[..., Machine], cli: Callable[..., Any], model: Path
) -> None:
    import json

    machine(PORTS, answering="/dev/ttyUSB1", tools=False)
    outcome = cli("devices", "--model", model, "--json")
    assert outcome.status == 0, outcome.err
    found = {row["url"]: row for row in json.loads(outcome.out)["devices"]}
    ready = {url for url, row in found.items() if row["ready"]}
    assert ready == {"emulator:", "serial:/dev/ttyUSB1"}
    assert "lacks g++" in found["verilator:"]["what"]
    assert "spec digest 01" in found["serial:/dev/ttyUSB0"]["what"]
    assert "not asked" in found["serial:/dev/ttyS0"]["what"]
