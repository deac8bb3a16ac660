"""The commands on the Verilated gateware: at its byte interface, and at its UART pins as a serial port."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Mux, Value

import adakern
from adakern.artifact import Artifact, save
from adakern.device.serial import SerialTransport
from adakern.estimate import estimate
from adakern.localise import Fault, locate
from adakern.parameters import SpnParameters
from adakern.verification import cases_in_all
from adakern_sim.serial_port import SerialPort
from adakern_sim.tops import uart_model
from adakern_spec.digest import spec_digest
from adakern_spec.network import folds_for_budget
from adakern_spec.numbers import Format

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("small model")]

Cli = Callable[..., Any]

BUDGET = 24
VERILATOR = f"verilator:?multipliers={BUDGET}"
CLOCK_HZ, BAUD = 12_000_000, 3_000_000


@pytest.fixture
def port(small_artifact: Artifact) -> Iterator[SerialPort]:
    """A board on a serial port, as far as anybody can tell."""
    shape = small_artifact.shape
    with SerialPort(uart_model(shape, folds_for_budget(shape, BUDGET), CLOCK_HZ, BAUD)) as opened:
        yield opened


@pytest.fixture
def emulated(cli: Cli, model: Path, fasta: Path) -> str:
    """What the emulator predicts, as JSON lines."""
    outcome = cli("predict", model, fasta, "--device", f"emulator:?multipliers={BUDGET}", "--json")
    assert outcome.status == 0
    return outcome.out


def test_predictions_equal_the_emulators_with_their_cycles(
    cli: Cli, model: Path, fasta: Path, emulated: str
) -> None:
    outcome = cli("predict", model, fasta, "--device", VERILATOR, "--json")
    assert outcome.status == 0, outcome.err
    assert outcome.out == emulated


def test_predictions_over_a_pseudo_terminal_equal_the_emulators(
    cli: Cli, model: Path, fasta: Path, emulated: str
) -> None:
    url = f"pty:?multipliers={BUDGET}&clock={CLOCK_HZ}&baud={BAUD}"
    outcome = cli("predict", model, fasta, "--device", url, "--json")
    assert outcome.status == 0, outcome.err
    assert outcome.out == emulated


@pytest.mark.parametrize("length", [1, 2, 25, 60])
def test_estimate_equals_the_simulation(model: Path, small_artifact: Artifact, length: int) -> None:
    shape, count = small_artifact.shape, 6
    expected = estimate(shape, BUDGET, length)
    maps = np.random.default_rng(0).integers(
        0, 256, (count, shape.in_channels, shape.height, length), np.uint8
    )
    with adakern.open(VERILATOR, model) as device:
        before = device.counters()  # type: ignore[attr-defined]
        found = device.predict(maps, np.full(count, length))
        after = device.counters()  # type: ignore[attr-defined]
    assert found.cycles.tolist() == [expected.latency] * count
    assert after["maps"] - before["maps"] == count
    busy = after["busy"] - before["busy"]
    stalls = after["stalls"] - before["stalls"]
    # Back to back but for the link's gaps, of which those within maps are counted.
    assert busy - stalls >= expected.latency + (count - 1) * expected.interval


def test_gateware_verifies(cli: Cli, model: Path) -> None:
    outcome = cli("verify", model, "--device", VERILATOR, "--count", 20, "--seed", 4, "--json")
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert report == {"device": "verilator:", "maps": cases_in_all(20), "agree": True, "mismatch": None}


@pytest.fixture
def wrapping_gateware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateware whose requantisers wrap around above 255 where they should saturate; in a cache of its own."""

    def wrap(value: Value, fmt: Format) -> Value:
        return Mux(value < fmt.min, fmt.min, value[: fmt.bits])

    monkeypatch.setattr("adakern_hw.blocks.rounding.saturate", wrap)
    monkeypatch.setenv("ADAKERN_CACHE", str(tmp_path / "cache"))


def rounded_sums(parameters: SpnParameters, values: np.ndarray) -> np.ndarray:
    """Outputs of stage 0 ahead of their saturation, [co, H, length], by torch's convolution in float64."""
    import torch
    from torch.nn import functional

    x, weight, bias = (
        torch.tensor(array.astype(np.float64))
        for array in (values[None], parameters.weights[0], parameters.biases[0])
    )
    sums = functional.conv2d(x, weight, bias, padding=1)[0].numpy()
    return np.floor(sums / 2.0 ** parameters.shifts[0][:, None, None] + 0.5)


@pytest.mark.usefixtures("wrapping_gateware")
def test_wrong_gateware_is_caught_and_the_place_named(
    cli: Cli, model: Path, small_artifact: Artifact
) -> None:
    outcome = cli("verify", model, "--device", VERILATOR, "--count", 5, "--json")
    assert outcome.status == 1
    mismatch = json.loads(outcome.out)["mismatch"]
    assert mismatch["fault"]["stage"] == "conv stage 0"
    assert "first differs at conv stage 0, channel" in outcome.error

    parameters = small_artifact.parameters
    values = np.random.default_rng(8).integers(0, 256, (3, 4, 12), np.uint8)
    with adakern.open(VERILATOR, model) as device:
        fault = locate(device, parameters, values)
    assert fault is not None
    too_large = rounded_sums(parameters, values[:, :, : fault.length]) > 255
    channel = int(np.argmax(too_large.any(axis=(1, 2))))
    position, row = np.argwhere(too_large[channel].T)[0].tolist()
    assert fault == Fault("conv stage 0", channel, row, position)


def test_device_for_another_shape_is_refused_with_both_digests(
    cli: Cli, fasta: Path, port: SerialPort, small_artifact: Artifact, tmp_path: Path
) -> None:
    shape = replace(small_artifact.shape, max_length=59)
    parameters = SpnParameters.from_block(shape, small_artifact.parameters.to_block())
    save(tmp_path / "other.safetensors", replace(small_artifact, parameters=parameters))
    url = f"serial:{port.path}?baud={BAUD}"
    outcome = cli("predict", tmp_path / "other.safetensors", fasta, "--truncate", "--device", url)
    assert outcome.status == 1
    for digest in (spec_digest(shape), spec_digest(small_artifact.shape)):
        assert digest.hex() in outcome.error


def test_unplugged_in_the_middle_keeps_results_and_resumes(
    cli: Cli,
    model: Path,
    fasta: Path,
    port: SerialPort,
    emulated: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = tmp_path / "results.jsonl"
    command = ("predict", model, fasta, "--device", f"serial:{port.path}?baud={BAUD}", "--output", results)
    right_write, written = SerialTransport.write, 0

    def pulled_out(self: SerialTransport, data: bytes) -> None:
        nonlocal written
        # Two of five records answered, the third's map on its way.
        if results.exists() and results.read_text().count("\n") == 2:
            written += 1
            if written == 3:
                port.close()
        right_write(self, data)

    monkeypatch.setattr("adakern.accelerator.CHUNK_RECORDS", 1)
    monkeypatch.setattr(SerialTransport, "write", pulled_out)
    outcome = cli(*command)
    assert outcome.status == 1
    assert f"{port.path}: port is gone" in outcome.error
    assert f"continue from the results in {results} with --resume" in outcome.error
    assert results.read_text().splitlines() == emulated.splitlines()[:2]
    # Elsewhere: the board is on another port now.
    outcome = cli("predict", model, fasta, "--device", VERILATOR, "--output", results, "--resume")
    assert outcome.status == 0, outcome.err
    assert results.read_text() == emulated
