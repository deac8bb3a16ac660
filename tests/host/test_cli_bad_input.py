"""Bad input ends in one line that says what is wrong, where, and the mend; and nothing is lost."""

import errno
import json
import os
import pty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serial
from safetensors import safe_open
from safetensors.numpy import save_file

import adakern
from adakern.models import AdaptiveEncoder, EncoderConfig, save_encoder
from adakern_spec.errors import InputError

Cli = Callable[..., Any]


def check(error: str, what: str, where: object, mend: str) -> None:
    """The line names all three, in this order: where, what, mend."""
    assert error.startswith(f"error: {where}"), error
    assert what in error.removeprefix(f"error: {where}"), error
    assert mend in error.partition(what)[2], error


def edited(source: Path, target: Path, edit: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> Path:
    """A copy of a safetensors file with its JSON metadata or its tensors changed by ``edit``."""
    with safe_open(source, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        ((key, text),) = ((key, text) for key, text in file.metadata().items() if text.startswith("{"))
        others = {name: value for name, value in file.metadata().items() if name != key}
    body = json.loads(text)
    edit(body, tensors)
    save_file(tensors, target, {key: json.dumps(body), **others})
    return target


def older(body: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    body["version"] = 0


def other_contract(body: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    body["spec_digest"] = "00" * 16


def tampered(body: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    tensors["stage0.weights"][0, 0, 0, 0] ^= 1


COMMANDS = ("predict", "verify", "trace", "estimate")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (older, "artifact version 0, this adakern reads 1"),
        (other_contract, "does not match its digest"),
        (tampered, "does not match its digest"),
    ],
)
def test_edited_artifact(
    cli: Cli, model: Path, fasta: Path, tmp_path: Path, command: str, edit: Any, what: str
) -> None:
    bad = edited(model, tmp_path / "bad.safetensors", edit)
    inputs = [fasta] if command in ("predict", "trace") else []
    outcome = cli(command, bad, *inputs)
    assert outcome.status == 1
    assert outcome.out == ""
    check(outcome.error, what, bad, "adakern quantize")


@pytest.mark.parametrize("size", [0, 7, 100, 2000])
def test_truncated_artifact(cli: Cli, model: Path, fasta: Path, tmp_path: Path, size: int) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(model.read_bytes()[:size])
    outcome = cli("predict", bad, fasta)
    assert outcome.status == 1
    check(outcome.error, "not a readable safetensors file", bad, "adakern quantize")


def test_absent_artifact(cli: Cli, fasta: Path, tmp_path: Path) -> None:
    outcome = cli("predict", tmp_path / "none.safetensors", fasta)
    check(outcome.error, "no such file", tmp_path / "none.safetensors", "adakern quantize")


@pytest.mark.parametrize(
    ("text", "what", "where", "mend"),
    [
        ("", "no records", "", "give at least one"),
        ("ACGT\n", "text before the first >", ":1", "start with"),
        (">a\nACGT\n>b\nAC\nGXT\n", "illegal letter 'X'", ":5, column 2", "--unknown"),
        (">a\n>b\nAC\n", "empty sequence", ":1", "remove it"),
        (">a\n" + "A" * 61 + "\n", "61 letters, at most 60 fit", ":2", "--truncate"),
    ],
)
def test_bad_fasta(
    cli: Cli, model: Path, tmp_path: Path, text: str, what: str, where: str, mend: str
) -> None:
    path = tmp_path / "bad.fasta"
    path.write_text(text)
    outcome = cli("predict", model, path, "-d", "emulator:")
    assert outcome.status == 1
    check(outcome.error, what, f"{path}{where}", mend)


def test_bad_file_is_refused_before_a_device_is_opened(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a device was opened")

    monkeypatch.setattr("adakern.registry.open", opened)
    path = tmp_path / "empty.fasta"
    path.touch()
    assert "no records" in cli("predict", model, path).error


def test_absent_and_unreadable_input(cli: Cli, model: Path, tmp_path: Path) -> None:
    absent = tmp_path / "none.fasta"
    check(cli("predict", model, absent, "-d", "emulator:").error, "No such file", absent, "can be read")
    binary = tmp_path / "binary.fasta"
    binary.write_bytes(b"\xff\xfe\x00>")
    check(cli("predict", model, binary, "-d", "emulator:").error, "no text file", binary, "FASTA")
    archive = tmp_path / "text.npz"
    archive.write_text("no archive")
    check(
        cli("predict", model, archive, "-d", "emulator:").error, "no readable NumPy archive", archive, "savez"
    )
    table = tmp_path / "table.csv"
    table.write_text("name,letters\na,ACGT\n")
    check(
        cli("predict", model, table, "-d", "emulator:").error,
        "no column 'sequence'",
        f"{table}:1",
        "name, letters",
    )


@pytest.mark.parametrize(
    ("url", "what", "mend"),
    [
        ("fpga:", "unknown device", "emulator:"),
        ("emulator", "unknown device", "emulator:"),
        ("emulator:here", "something behind the colon", "use emulator:"),
        ("serial:", "no PORT", "serial:PORT"),
        ("emulator:?speed=3", "unknown option 'speed'", "multipliers=…"),
        ("verilator:?multipliers=many", "multipliers 'many'", "positive whole number"),
        ("serial:/dev/ttyUSB0?baud=0", "baud '0'", "positive whole number"),
    ],
)
def test_bad_device_url(cli: Cli, model: Path, fasta: Path, url: str, what: str, mend: str) -> None:
    outcome = cli("predict", model, fasta, "--device", url)
    assert outcome.status == 1
    check(outcome.error, what, url, mend)


def test_too_few_multipliers(cli: Cli, model: Path) -> None:
    outcome = cli("estimate", model, "--multipliers", 1)
    check(outcome.error, "1 multipliers", "multiplier budget", "at least 2")


def test_length_beyond_the_limit(cli: Cli, model: Path) -> None:
    outcome = cli("estimate", model, "--length", 61)
    check(outcome.error, "length 61", "estimate", "1 to 60")


@pytest.fixture
def terminal() -> Iterator[str]:
    """A serial port at whose other end nobody answers."""
    master, slave = pty.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def test_absent_port(cli: Cli, model: Path, fasta: Path) -> None:
    outcome = cli("predict", model, fasta, "--device", "serial:/dev/nosuchport")
    assert outcome.status == 1
    check(outcome.error, "no such port", "/dev/nosuchport", "ports of this machine")


def test_busy_port(cli: Cli, model: Path, fasta: Path, terminal: str) -> None:
    with serial.Serial(terminal, exclusive=True):
        outcome = cli("predict", model, fasta, "--device", f"serial:{terminal}")
    assert outcome.status == 1
    check(outcome.error, "port is busy", terminal, "close the program")


def test_port_without_permission(
    cli: Cli, model: Path, fasta: Path, terminal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: Any, **options: Any) -> None:
        raise serial.SerialException(errno.EACCES, "could not open port")

    monkeypatch.setattr(serial, "Serial", refused)
    outcome = cli("predict", model, fasta, "--device", f"serial:{terminal}")
    assert outcome.status == 1
    check(outcome.error, "no permission", terminal, "add your user to the group")


@pytest.mark.parametrize("command", ["predict", "verify"])
def test_silent_device(cli: Cli, model: Path, fasta: Path, terminal: str, command: str) -> None:
    inputs = [fasta] if command == "predict" else []
    outcome = cli(command, model, *inputs, "--device", f"serial:{terminal}")
    assert outcome.status == 1
    check(outcome.error, "device silent", terminal, "check power, cable, port and baud rate")


def encoder(tmp_path: Path, **fields: Any) -> Path:
    """File of an untrained encoder."""
    config = EncoderConfig(
        **{"height": 4, "alphabet": "dna", "channels": 3, "spn_channels": (3, 2), **fields}
    )
    save_encoder(tmp_path / "encoder.safetensors", AdaptiveEncoder(config))
    return tmp_path / "encoder.safetensors"


def not_finite(body: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    tensors["spn.convs.0.weight"][1, 0, 0, 0] = np.nan


def too_large(body: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    tensors["spn.convs.0.bias"][1] = -1e12


def even_kernel(body: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    body["kernel"] = 4


@pytest.mark.parametrize(
    ("edit", "what", "mend"),
    [
        (not_finite, "non-finite weights in spn.convs.0.weight", "train it again"),
        (even_kernel, "kernel 4", "use an odd size"),
    ],
)
def test_unusable_encoder_is_not_quantised(
    cli: Cli, fasta: Path, tmp_path: Path, edit: Any, what: str, mend: str
) -> None:
    bad = edited(encoder(tmp_path), tmp_path / "bad.safetensors", edit)
    out = tmp_path / "artifact.safetensors"
    outcome = cli("quantize", bad, "--data", fasta, "--out", out)
    assert outcome.status == 1
    check(outcome.error, what, bad, mend)
    assert not out.exists()


def test_accumulator_over_32_bit_is_not_quantised(cli: Cli, fasta: Path, tmp_path: Path) -> None:
    bad = edited(encoder(tmp_path), tmp_path / "bad.safetensors", too_large)
    outcome = cli("quantize", bad, "--data", fasta, "--out", tmp_path / "artifact.safetensors")
    assert outcome.status == 1
    check(outcome.error, "32 bit", "spn.convs.0, channel 1", "smaller biases")


def test_encoder_without_an_spn_is_not_quantised(cli: Cli, fasta: Path, tmp_path: Path) -> None:
    fixed = encoder(tmp_path, adaptive=False)
    outcome = cli("quantize", fixed, "--data", fasta, "--out", tmp_path / "artifact.safetensors")
    assert outcome.status == 1
    check(outcome.error, "FixedScales", "quantise", "train with adaptive kernels")


def test_full_disk_leaves_the_old_artifact(
    cli: Cli, model: Path, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "artifact.safetensors"
    out.write_bytes(model.read_bytes())
    source = encoder(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    outcome = cli("quantize", source, "--data", fasta, "--out", out)
    assert outcome.status == 1
    check(outcome.error, "No space left on device", out, "free some space")
    assert out.read_bytes() == model.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out.name, source.name, fasta.name])


@pytest.mark.parametrize(
    ("maps", "lengths", "what", "mend"),
    [
        (np.zeros((1, 3, 4, 5), np.float32), [5], "dtype float32", "uint8"),
        (np.zeros((1, 2, 4, 5), np.uint8), [5], "shape (2, 4, 5)", "(3, 4, length)"),
        (np.zeros((1, 3, 4, 5), np.uint8), [0], "length 0", "1 to 5"),
        (np.zeros((1, 3, 4, 61), np.uint8), [61], "length 61", "1 to 60"),
        (np.zeros((3, 4, 5), np.uint8), [5], "maps of shape (3, 4, 5)", "[B, C, H, L]"),
    ],
)
def test_bad_maps(model: Path, maps: np.ndarray, lengths: list[int], what: str, mend: str) -> None:
    with adakern.open("emulator:", model) as device, pytest.raises(InputError) as caught:
        device.predict(maps, np.array(lengths))
    check(f"error: {caught.value}", what, caught.value.where, mend)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "Missing command"),
        (("fly",), "No such command 'fly'"),
        (("predict",), "Missing argument"),
        (("estimate", "model", "--multipliers", "many"), "--multipliers"),
        (("estimate", "model", "--wrong"), "--wrong"),
    ],
)
def test_wrong_command_line(cli: Cli, arguments: tuple[str, ...], what: str) -> None:
    outcome = cli(*arguments)
    assert outcome.status == 2
    check(outcome.error, what, "command line", "see adakern --help")
    assert len(outcome.err.splitlines()) == 1


def test_unexpected_errors_show_a_traceback_on_request_only(
    cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("adakern.artifact.load", broken)
    outcome = cli("estimate", model)
    assert outcome.status == 1
    assert outcome.error == "error: RuntimeError: two lines; unexpected, ADAKERN_DEBUG=1 shows where"
    monkeypatch.setenv("ADAKERN_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli("estimate", model)


def test_a_picture_that_cannot_be_drawn_is_refused_before_any_record(
    cli: Cli, model: Path, fasta: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.foo"
    for command in ("predict", "trace"):
        outcome = cli(command, model, fasta, "--picture", picture)
        assert outcome.status == 1
        assert f"{picture}: no picture format 'foo'" in outcome.error
        assert not outcome.out
