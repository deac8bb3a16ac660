"""``adakern predict``: what it prints, what it writes, and that nothing is lost when it ends early."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adakern.artifact import Artifact, quantise_maps
from adakern.data import Admission, alphabet_named, collate, read_records
from adakern.device.emulator import EmulatorDevice
from adakern.estimate import estimate
from adakern.reference.spn import run_spn
from adakern_spec.errors import DeviceError

FIELDS = {
    "scale_height": float,
    "scale_length": float,
    "kernel_height": float,
    "kernel_length": float,
    "cycles": int,
    "float_scale_height": float,
    "float_scale_length": float,
    "difference": float,
}
MULTIPLIERS = 144

Cli = Callable[..., Any]


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_holds_one_object_per_record_with_the_promised_fields(
    cli: Cli, model: Path, fasta: Path
) -> None:
    outcome = cli("predict", model, fasta, "--device", "emulator:", "--json")
    assert outcome.status == 0, outcome.err
    found = rows(outcome.out)
    assert [(row["id"], row["length"]) for row in found] == [
        ("seq0", 12),
        ("seq1", 1),
        ("seq2", 60),
        ("seq3", 7),
        ("seq4", 33),
    ]
    for row in found:
        assert set(row) == {"id", "length", "iterations", "parameter_crc", *FIELDS}
        assert len(row["iterations"]) == 2
        for figures in (row, *row["iterations"]):
            assert all(type(figures[name]) is kind for name, kind in FIELDS.items())
        assert {name: row[name] for name in FIELDS} == row["iterations"][-1]


def test_scales_kernels_and_cycles_are_those_of_the_reference(
    cli: Cli, model: Path, fasta: Path, small_artifact: Artifact
) -> None:
    """The first iteration's activation map, computed here with plain torch, through the integer reference."""
    import torch
    from torch.nn import functional

    weights = {name: torch.tensor(values) for name, values in small_artifact.float_parameters.items()}
    records = list(read_records(fasta, Admission(alphabet_named("dna"))))
    row = rows(cli("predict", model, fasta, "--device", "emulator:", "--json").out)[4]
    x, lengths = collate(records[4:], alphabet_named("dna"))
    for layer in ("lift", "conv"):
        weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        x = functional.relu(functional.conv2d(torch.as_tensor(x), weight, bias, padding=1)).numpy()
    expected = run_spn(small_artifact.parameters, quantise_maps(x, small_artifact.input_format), lengths)
    first = row["iterations"][0]
    assert [first["scale_height"], first["scale_length"]] == (expected.scales[0] / 2**14).tolist()
    assert [first["kernel_height"], first["kernel_length"]] == (expected.kernels[0] / 2**8).tolist()
    assert first["cycles"] == estimate(small_artifact.shape, MULTIPLIERS, 33).latency


def test_outputs_are_the_encoders_with_the_devices_scales(
    cli: Cli, model: Path, fasta: Path, small_artifact: Artifact
) -> None:
    import torch

    from adakern.models import AdaptiveEncoder
    from adakern.models.restore import float_model

    encoder = float_model(small_artifact)
    assert isinstance(encoder, AdaptiveEncoder)
    records = list(read_records(fasta, Admission(alphabet_named("dna"))))
    found = rows(cli("predict", model, fasta, "--device", "emulator:", "--json", "--outputs").out)
    for record, row in zip(records, found, strict=True):
        said = iter([[[i["scale_height"], i["scale_length"]]] for i in row["iterations"]])

        class Dictated(torch.nn.Module):
            def forward(self, x: torch.Tensor, lengths: torch.Tensor, said: Any = said) -> torch.Tensor:
                return torch.tensor(next(said))

        encoder.spn = Dictated()
        maps, lengths = (torch.from_numpy(array) for array in collate([record], alphabet_named("dna")))
        with torch.no_grad():
            expected = encoder(maps, lengths)[0]
        assert row["output"] == pytest.approx(expected.tolist(), abs=1e-5)


def test_each_record_answers_as_it_does_alone(cli: Cli, model: Path, fasta: Path, tmp_path: Path) -> None:
    together = rows(cli("predict", model, fasta, "-d", "emulator:", "--json").out)
    alone = tmp_path / "alone.fasta"
    alone.write_text("".join(fasta.read_text().splitlines(keepends=True)[2:4]))
    (row,) = rows(cli("predict", model, alone, "-d", "emulator:", "--json").out)
    for name in ("scale_height", "scale_length", "kernel_height", "kernel_length", "cycles"):
        assert row[name] == together[1][name]


def test_table_has_a_row_per_record(cli: Cli, model: Path, fasta: Path) -> None:
    outcome = cli("predict", model, fasta, "--device", "emulator:")
    assert outcome.status == 0
    for index in range(5):
        assert f"seq{index}" in outcome.out
    assert "last of 2 iterations" in outcome.out


def test_demonstration_stays_close_to_its_float_model(cli: Cli) -> None:
    bundled = Path(__file__).parents[2] / "host" / "adakern" / "bundled"
    found = rows(
        cli("predict", bundled / "demo.safetensors", bundled / "demo.fasta", "-d", "emulator:", "--json").out
    )
    assert len(found) == 12
    for row in found:
        assert row["difference"] == pytest.approx(
            max(
                abs(row["scale_height"] - row["float_scale_height"]),
                abs(row["scale_length"] - row["float_scale_length"]),
            )
        )
        assert row["difference"] < 0.02


def test_csv_and_npz_give_the_same_answers_as_fasta(
    cli: Cli, model: Path, fasta: Path, tmp_path: Path
) -> None:
    records = list(read_records(fasta, Admission(alphabet_named("dna"))))
    table = tmp_path / "input.csv"
    lines = [f"{record.id},{record.sequence}" for record in records]
    table.write_text("name,seq\n" + "\n".join(lines) + "\n")
    archive = tmp_path / "input.npz"
    np.savez(archive, id=[r.id for r in records], sequence=[r.sequence for r in records])
    expected = cli("predict", model, fasta, "-d", "emulator:", "--json").out
    columns = ("--sequence-column", "seq", "--id-column", "name")
    assert cli("predict", model, table, "-d", "emulator:", "--json", *columns).out == expected
    assert cli("predict", model, archive, "-d", "emulator:", "--json").out == expected


def test_unknown_letters_and_long_sequences_are_admitted_on_request(
    cli: Cli, model: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.fasta"
    odd.write_text(">long\n" + "ACGT" * 20 + "\n>odd\nACGNNRT\n")
    refused = cli("predict", model, odd, "-d", "emulator:", "--json")
    assert refused.status == 1
    assert "80 letters, at most 60 fit" in refused.error
    refused = cli("predict", model, odd, "-d", "emulator:", "--json", "--truncate")
    assert refused.status == 1
    assert f"{odd}:4, column 4" in refused.error
    assert [row["id"] for row in rows(refused.out)] == ["long"], "what came before is answered"
    outcome = cli(
        "predict", model, odd, "-d", "emulator:", "--json", "--truncate", "--unknown", "--max-length", 50
    )
    assert outcome.status == 0
    assert [row["length"] for row in rows(outcome.out)] == [50, 7]


def test_picture_is_written(cli: Cli, model: Path, fasta: Path, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "picture.png"
    outcome = cli("predict", model, fasta, "-d", "emulator:", "--picture", picture)
    assert outcome.status == 0
    assert str(picture) in outcome.err
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def unplugged_after(monkeypatch: pytest.MonkeyPatch, batches: int, error: BaseException) -> None:
    """The emulator fails behind its first ``batches`` batches; a chunk takes two, one per iteration."""
    right = EmulatorDevice.predict
    calls = 0

    def predict(self: EmulatorDevice, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > batches:
            raise error
        return right(self, *arguments)

    monkeypatch.setattr(EmulatorDevice, "predict", predict)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (
            DeviceError("port is gone", "/dev/ttyUSB0", "plug it in"),
            1,
            "error: /dev/ttyUSB0: port is gone; plug it in; ",
        ),
        (KeyboardInterrupt(), 130, "interrupted: "),
    ],
)
def test_results_so_far_are_kept_and_the_batch_resumes(
    cli: Cli,
    model: Path,
    fasta: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
    message: str,
) -> None:
    monkeypatch.setattr("adakern.accelerator.CHUNK_RECORDS", 2)
    expected = cli("predict", model, fasta, "-d", "emulator:", "--json").out
    results = tmp_path / "results.jsonl"
    command = ("predict", model, fasta, "-d", "emulator:", "--output", results)
    with monkeypatch.context() as patch:
        unplugged_after(patch, batches=2, error=error)
        outcome = cli(*command)
    assert outcome.status == status
    assert outcome.err.startswith(message)
    assert f"{results} with --resume" in outcome.err
    assert len(rows(results.read_text())) == 2
    outcome = cli(*command, "--resume")
    assert outcome.status == 0, outcome.err
    assert f"5 results in {results}" in outcome.err
    assert rows(results.read_text()) == rows(expected)


def test_interruption_without_output_says_how_to_be_able_to_resume(
    cli: Cli, model: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unplugged_after(monkeypatch, batches=0, error=KeyboardInterrupt())
    outcome = cli("predict", model, fasta, "-d", "emulator:")
    assert (outcome.status, outcome.err) == (130, "interrupted: use --output to be able to resume\n")


def test_answers_ahead_of_a_bad_record_are_printed(cli: Cli, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.fasta"
    path.write_text(">good\nACGTACGT\n>bad\nAC-T\n")
    outcome = cli("predict", model, path, "-d", "emulator:")
    assert outcome.status == 1
    assert "bad.fasta:4, column 3" in outcome.error
    assert "good" in outcome.out


def test_full_disk_is_named(
    cli: Cli, model: Path, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results.jsonl"

    def full(self: Path, *arguments: Any, **options: Any) -> Any:
        return (
            real_open(Path("/dev/full"), "ab") if self == results else real_open(self, *arguments, **options)
        )

    real_open = Path.open
    monkeypatch.setattr(Path, "open", full)
    monkeypatch.setattr("adakern.cli.records.ResultsFile.skip", lambda self, records: records)
    outcome = cli("predict", model, fasta, "-d", "emulator:", "--output", results)
    assert outcome.status == 1
    assert f"{results}: cannot write (No space left on device); free some space" in outcome.error


def test_memory_does_not_grow_with_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are drawn a chunk at a time: never more than a chunk ahead of the answers."""
    from adakern.accelerator import CHUNK_POSITIONS, CHUNK_RECORDS, _chunks
    from adakern.data import SequenceRecord

    drawn = 0

    def records(length: int, count: int) -> Any:
        nonlocal drawn
        drawn = 0
        for index in range(count):
            drawn += 1
            yield SequenceRecord(str(index), "A" * length)

    answered = 0
    for chunk in _chunks(records(10, 1000)):
        assert len(chunk) <= CHUNK_RECORDS
        assert drawn - answered <= CHUNK_RECORDS + 1
        answered += len(chunk)
    assert answered == 1000
    assert [len(chunk) for chunk in _chunks(records(CHUNK_POSITIONS, 3))] == [1, 1, 1]
    assert [len(chunk) for chunk in _chunks(records(CHUNK_POSITIONS // 4, 9))] == [4, 4, 1]


@pytest.fixture
def long_fasta(tmp_path: Path) -> Path:
    """Enough records for some seconds."""
    path = tmp_path / "long.fasta"
    path.write_text("".join(f">r{index}\n{'ACGT' * 15}\n" for index in range(20_000)))
    return path


def adakern(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """The real program, in a process of its own."""
    program = "from adakern.cli import main; main()"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    # Standard output is buffered, as it is for most users.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, **options)


@pytest.mark.slow
def test_signal_ends_the_program_cleanly(model: Path, long_fasta: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    process = adakern("predict", model, long_fasta, "-d", "emulator:", "--output", results)
    while not (results.exists() and results.stat().st_size) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (
        130,
        f"interrupted: continue from the results in {results} with --resume\n",
    )
    done = rows(results.read_text())
    assert 0 < len(done) < 20_000
    assert [row["id"] for row in done] == [f"r{index}" for index in range(len(done))]


@pytest.mark.slow
def test_closed_pipe_ends_the_program_quietly(model: Path, long_fasta: Path) -> None:
    process = adakern("predict", model, long_fasta, "-d", "emulator:", "--json", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["id"] == "r0"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 1


def test_pipe_closed_before_the_first_line_is_quiet_too(model: Path) -> None:
    process = adakern("verify", model, "-d", "emulator:", "--count", 0, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 1


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], {"torch", "numpy", "amaranth", "matplotlib"}),
        (["predict", "--help"], {"torch", "numpy", "amaranth", "matplotlib"}),
        (["devices"], {"torch", "matplotlib"}),
    ],
)
def test_commands_load_only_what_they_need(arguments: list[str], absent: set[str]) -> None:
    program = (
        "import sys; from adakern.cli import run; status = run(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    outcome = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert outcome.returncode == 0
    assert outcome.stdout
    loaded = set(outcome.stderr.split())
    assert "adakern.cli" in loaded
    assert not loaded & absent
