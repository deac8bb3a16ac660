"""Builds of a whole small network with its link by the real tools: from an artifact to a bitstream.

Each is built twice as a user would, in processes with caches, folders and hash seeds of their own; the
second takes up nothing of the first, and must give the same bytes.
"""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Visit, find_browser

from adakern.artifact import Artifact, save
from adakern.gate_level import VECTORS
from adakern.parameters import SpnParameters
from adakern_hw.boards import find_board
from adakern_spec import cycles
from adakern_spec.network import SpnShape

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("builds")]

SHAPES = {
    # Two stages, that take turns.
    "icebreaker": SpnShape(channels=(2, 2, 2), height=4, max_length=255),
    "icepi-zero": SpnShape(channels=(1, 1), height=4, max_length=255),
}
MULTIPLIERS = 3
CLOCKS = {"icebreaker": 18.0, "icepi-zero": 50.0}
"""MHz; well below what each board reaches, so that the seed of the placement decides nothing."""


@dataclass(frozen=True)
class Made:
    """What one build left."""

    content: bytes
    report: dict[str, Any]
    standard_output: dict[str, Any]
    page: str


def make(model: Path, board: str, folder: Path, hash_seed: str, *more: str) -> Made:
    """Build in a process of its own with nothing built before; ``more`` options of the command."""
    folder.mkdir()
    command = ["build", str(model), "--board", board, "--clock", str(CLOCKS[board]), "--json"]
    options = ["--multipliers", str(MULTIPLIERS), "--out", "made.bit", *more]
    outcome = subprocess.run(
        [sys.executable, "-c", "from adakern.cli import main; main()", *command, *options],
        cwd=folder,
        env=os.environ | {"ADAKERN_CACHE": str(folder / "cache"), "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads((folder / "made.bit.json").read_text())
    page = (folder / "made.bit.html").read_text()
    return Made((folder / "made.bit").read_bytes(), report, json.loads(outcome.stdout), page)


@pytest.fixture(scope="module", params=sorted(CLOCKS))
def builds(request, tmp_path_factory):
    """Board, and its two builds."""
    folder = tmp_path_factory.mktemp(request.param)
    shape = SHAPES[request.param]
    parameters = SpnParameters.random(shape, np.random.default_rng(7))
    save(folder / "model.safetensors", Artifact(parameters, (6,) * len(shape.channels), {}))
    model = folder / "model.safetensors"
    return find_board(request.param), [
        make(model, request.param, folder / "first", "1"),
        make(model, request.param, folder / "a second one, elsewhere", "271828", "--check"),
    ]


def test_same_bytes_from_nothing_in_another_folder_with_another_hash_seed(builds):
    _, (first, second) = builds
    assert not first.standard_output["cached"]
    assert not second.standard_output["cached"]
    assert first.report["digest"] == second.report["digest"]
    assert first.content == second.content


def test_report_is_of_this_bitstream(builds):
    board, (made, _) = builds
    assert made.report["sha256"] == hashlib.sha256(made.content).hexdigest()
    assert made.report["board"] == board.name
    assert board.family.preamble in made.content[:256]
    assert board.identity in made.content[:256]
    assert {"bitstream": "made.bit", "cached": False} | made.report == made.standard_output


def test_reports_of_the_same_build_differ_in_the_time_that_it_took_alone(builds):
    _, (first, second) = builds
    assert {name for name in first.report if first.report[name] != second.report[name]} <= {"seconds"}


def test_checked_build_says_that_its_netlist_is_equal(builds):
    board, (unchecked, checked) = builds
    assert "gate_level" not in unchecked.report
    gate_level = checked.report["gate_level"]
    assert gate_level["device"] == f"netlist:{board.family.name}"
    assert gate_level["equal"]
    assert gate_level["vectors"] > VECTORS


def test_floorplan_holds_every_cell_that_nextpnr_placed(builds):
    _, (made, _) = builds
    placed = sum(count for *_, inside in made.report["floorplan"]["tiles"] for _, count in inside)
    assert placed == sum(count["used"] for count in made.report["utilisation"].values())


def test_path_is_told_from_register_to_register(builds):
    _, (made, _) = builds
    path, modules = made.report["critical_path"], made.report["modules"]
    assert sum(hop["delay_ns"] for hop in path["hops"]) == pytest.approx(
        1e3 / made.report["clock"]["reached_mhz"], abs=0.01
    )
    for end, hop in (("start", path["hops"][0]), ("end", path["hops"][-1])):
        assert path[end] == f"{hop['module']}.{hop['signal']}"
        assert hop["module"] in modules


def test_page_draws_what_was_placed(builds, tmp_path):
    _, (made, _) = builds
    visit = Visit(find_browser(), tmp_path, made.page, "--dump-dom")
    assert visit.document.count('class="tile ') == len(made.report["floorplan"]["tiles"])
    assert f">{made.report['clock']['reached_mhz']:.2f}<" in visit.document
    assert visit.console == []
    assert visit.requests == set()


def test_clock_is_met(builds):
    board, (made, _) = builds
    clock = made.report["clock"]
    assert clock["wanted_mhz"] == pytest.approx(CLOCKS[board.name], rel=5e-3)
    assert clock["reached_mhz"] >= clock["wanted_mhz"]
    assert clock["slack_ns"] == pytest.approx(1e3 / clock["wanted_mhz"] - 1e3 / clock["reached_mhz"])


def test_report_agrees_with_the_network_and_with_itself(builds):
    board, (made, _) = builds
    network, resources, shape = made.report["network"], made.report["resources"], SHAPES[board.name]
    folds = board.folds(shape, MULTIPLIERS)
    assert network["folds"] == [[fold.pe, fold.simd] for fold in folds]
    assert network["multipliers"] == cycles.multipliers(folds) <= MULTIPLIERS
    assert network["cycles_per_map"] == cycles.interval(shape, folds, network["length"], board.link)
    assert resources["total"]["dsps"] == board.dsps(shape, folds)
    for kind, total in resources["total"].items():
        assert sum(counts[kind] for counts in made.report["modules"].values()) == total
    for figures in made.report["utilisation"].values():
        assert figures["used"] <= figures["available"]


def test_estimate_is_near_what_was_built(builds):
    _, (made, _) = builds
    used, estimate = (made.report["resources"][name] for name in ("used", "estimate"))
    assert estimate["dsps"] == used["dsps"]
    assert estimate == pytest.approx(used, rel=0.15)
