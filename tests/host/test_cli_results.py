"""``adakern predict --output``: the results file and going on behind what it holds."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from adakern.artifact import Artifact, save
from adakern.parameters import SpnParameters

Cli = Callable[..., Any]


def test_resume_drops_half_a_line_and_goes_on(cli: Cli, model: Path, fasta: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    command = ("predict", model, fasta, "-d", "emulator:", "--output", results)
    assert cli(*command).status == 0
    whole = results.read_bytes()
    lines = whole.splitlines(keepends=True)
    results.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    assert cli(*command, "--resume").status == 0
    assert list(map(json.loads, results.read_text().splitlines())) == list(map(json.loads, lines))


def test_resume_of_a_finished_run_changes_nothing(cli: Cli, model: Path, fasta: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    command = ("predict", model, fasta, "-d", "emulator:", "--output", results, "--resume")
    assert cli(*command).status == 0
    whole = results.read_bytes()
    assert cli(*command).status == 0
    assert results.read_bytes() == whole


def test_results_that_exist_or_belong_elsewhere_are_left_alone(
    cli: Cli, model: Path, fasta: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text('{"id": "another"}\n')
    command = ("predict", model, fasta, "-d", "emulator:", "--output", results)
    outcome = cli(*command)
    assert outcome.status == 1
    assert f"{results}: exists; continue it with --resume" in outcome.error
    outcome = cli(*command, "--resume")
    assert outcome.status == 1
    assert f"{results}:1: results of other records" in outcome.error
    assert results.read_text() == '{"id": "another"}\n'


def test_results_of_another_model_are_not_continued(
    cli: Cli, model: Path, small_artifact: Artifact, fasta: Path, tmp_path: Path
) -> None:
    results, other = tmp_path / "results.jsonl", tmp_path / "other.safetensors"
    options = (fasta, "-d", "emulator:", "--output", results)
    assert cli("predict", model, *options).status == 0
    whole = results.read_bytes()
    parameters = SpnParameters.random(small_artifact.shape, np.random.default_rng(6))
    save(other, dataclasses.replace(small_artifact, parameters=parameters))
    outcome = cli("predict", other, *options, "--resume")
    assert outcome.status == 1
    assert f"{results}:1: results of another model" in outcome.error
    assert results.read_bytes() == whole
