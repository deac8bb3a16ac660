"""Bitstreams through the command line: report, cache, and everything that can be wrong with a board or file.

Gateware and tools are replaced by ones that write a file; tests/hw/test_bitstream.py runs the real ones.
"""

import hashlib
import json

import numpy as np
import pytest

from adakern import bitstreams
from adakern.artifact import Artifact, save
from adakern.parameters import SpnParameters
from adakern.report.build_page import build_page
from adakern_hw.bitstream import Bitstream, Placement, Sources
from adakern_hw.boards import find_board
from adakern_hw.floorplan import DIES, Floorplan, Tile
from adakern_hw.hierarchy import Hierarchy
from adakern_hw.prediction import predict
from adakern_hw.timing import Clock, Timing, TimingPath
from adakern_hw.toolchain import ToolError, tool_version
from adakern_spec import cycles
from adakern_spec.network import SpnShape

BOARD = find_board("icepi-zero")
CONTENT = b"\xff\x00Part\x00\xff" + BOARD.family.preamble + bytes(4) + BOARD.identity + bytes(100)
COUNTS = {"luts": 5, "carries": 0, "registers": 7, "dsps": 1, "block_rams": 0, "lut_rams": 0}
TIMING = Timing(100.0, 125.0, TimingPath("engine.sum", "engine.total", 8.0, 5.0, 3))


def sha256(content):
    return hashlib.sha256(content).hexdigest()


CLOCKS = (Clock("clock.fast", 100.0, 125.0), Clock("clock.slow", 20.0, 30.0))
UTILISATION = {site: {"used": 3, "available": 9} for site in BOARD.family.sites.values()}
FLOORPLAN = Floorplan("lfe5u_25f", DIES["lfe5u_25f"], False, 16, (Tile(4, 7, "logic", {"engine": 12}),))


@pytest.fixture
def fresh_versions():
    """Forget the versions of the tools that were asked before, and of those in this test."""
    tool_version.cache_clear()
    yield
    tool_version.cache_clear()


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """Counts builds; each leaves a file and takes two stages."""
    runs = []

    def build(sources, folder, status, seeds):
        runs.append(seeds)
        status("synthesis", 0.0)
        (folder / "top.json").write_text("{}")
        path = folder / "top.bit"
        path.write_bytes(CONTENT)
        return Bitstream(
            path,
            Placement(seeds, TIMING, UTILISATION, CLOCKS),
            {"": COUNTS, "engine": COUNTS},
            {"synthesis": 1.0},
            Hierarchy(["engine"]),
            FLOORPLAN,
        )

    def prepare(order):
        return Sources(order.board, round(order.pll.output), {"top.il": repr(order).encode()})

    monkeypatch.setenv("ADAKERN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bitstreams, "prepare", prepare)
    monkeypatch.setattr(bitstreams, "build", build)
    return runs


def test_build_writes_bitstream_and_report(cli, model, tools, tmp_path):
    out = tmp_path / "new" / "demo.bit"
    outcome = cli("build", model, "--board", "icepi-zero", "--out", out, "--json")
    assert outcome.status == 0
    assert out.read_bytes() == CONTENT
    report = json.loads((tmp_path / "new" / "demo.bit.json").read_text())
    assert json.loads(outcome.out) == {"bitstream": str(out), "cached": False} | report
    assert report["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert report["clock"]["slack_ns"] == pytest.approx(10.0 - 8.0)
    assert (tmp_path / "new" / "demo.bit.html").read_text() == build_page(report)
    assert report["modules"] == {"engine": COUNTS}
    assert report["floorplan"] == FLOORPLAN.to_json()
    assert report["command"] == "adakern build model.safetensors --board icepi-zero --out demo.bit"
    assert report["model"]["file"] == "model.safetensors"
    assert set(report["tools"]) == {"yosys", "nextpnr-ecp5", "ecppack"}
    assert "synthesis" in outcome.err


def test_terminal_shows_the_subsystems_and_names_the_page(cli, model, tools, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    out = tmp_path / "demo.bit"
    text = cli("build", model, "--board", "icepi-zero", "--out", out).out
    assert "sequencing and head" in text
    assert "125.00 MHz reached, 100.00 MHz wanted, slack 2.00 ns" in text
    assert "demo.bit.html" in text


def test_report_counts_cycles_at_the_clock_of_the_board(tools):
    shape, board = SpnShape((2, 2, 1), height=4, max_length=32), find_board("icepi-zero")
    network = bitstreams.build_bitstream(shape, board, 5, 50_000_000, status=lambda *_: None).report[
        "network"
    ]
    folds = board.folds(shape, 5)
    assert network["cycles_per_map"] == cycles.interval(shape, folds, 32)
    assert network["maps_per_second"] == pytest.approx(50e6 / cycles.interval(shape, folds, 32))
    assert network["latency_us"] == pytest.approx(cycles.latency(shape, folds, 32) / 50)
    assert network["multipliers"] <= 5
    # The slow clock is the one nearest to the 50 MHz that were asked for.
    assert network["maps_per_second_at_reached"] == pytest.approx(30e6 / cycles.interval(shape, folds, 32))


def test_second_build_comes_from_the_cache_and_other_options_do_not(cli, model, tools, tmp_path):
    def build(*options):
        out = tmp_path / "demo.bit"
        outcome = cli("build", model, "--board", "icepi-zero", "--out", out, "--json", *options)
        return json.loads(outcome.out)["cached"]

    assert [build(), build(), build("--search", "2"), build("--clock", "50"), build()] == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert tools == [1, 2, 1]


def test_report_of_a_build_from_the_cache_is_the_same(cli, model, tools, tmp_path):
    def build(folder):
        out = tmp_path / folder / "demo.bit"
        assert cli("build", model, "--board", "icepi-zero", "--out", out).status == 0
        return [path.read_bytes() for path in (out, bitstreams.report_path(out), bitstreams.page_path(out))]

    assert build("first") == build("second")
    assert tools == [1]


def test_failed_build_leaves_nothing(cli, model, tools, tmp_path, monkeypatch):
    def miss(sources, folder, status, seeds):
        (folder / "top.bit").write_bytes(CONTENT)
        Timing(200.0, 125.0, TIMING.worst).check("icepi-zero, seed 1")

    monkeypatch.setattr(bitstreams, "build", miss)
    out = tmp_path / "demo.bit"
    outcome = cli("build", model, "--board", "icepi-zero", "--out", out)
    assert outcome.status == 1
    assert "125.00 MHz reached, 200.00 MHz wanted; worst path: engine.sum → engine.total" in outcome.error
    assert not out.exists()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock" and path.is_file()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--board", "ulx4s"), "board: no board 'ulx4s'; use one of ulx3s-85f"),
        (("--board", "icepi-zero", "--clock", "450"), "the PLL cannot make 450 MHz"),
        (("--board", "icepi-zero", "--multipliers", "1"), "stages need a multiplier each"),
    ],
)
def test_bad_options_are_one_line(cli, model, tools, options, message):
    outcome = cli("build", model, *options)
    assert outcome.status == 1
    assert message in outcome.error
    assert tools == []


def test_missing_tool_names_what_installs_it(cli, model, tools, fresh_versions, monkeypatch):
    monkeypatch.setenv("NEXTPNR_ECP5", "no-such-nextpnr")
    outcome = cli("build", model, "--board", "icepi-zero")
    assert "NEXTPNR_ECP5: no-such-nextpnr not found; unset it" in outcome.error


def test_old_tool_is_refused(fresh_versions, monkeypatch, tmp_path):
    old = tmp_path / "nextpnr-ecp5"
    old.write_text("#!/bin/sh\necho 'Next Generation Place and Route (Version 0.4)'\n")
    old.chmod(0o755)
    monkeypatch.setenv("NEXTPNR_ECP5", str(old))
    with pytest.raises(ToolError, match=r"version 0\.4 is older than 0\.8"):
        tool_version("nextpnr-ecp5")


class TestProgram:
    @pytest.fixture
    def loader(self, monkeypatch, tmp_path):
        """A loader that leaves its arguments, or fails as it is told."""

        def install(script):
            path = tmp_path / "loader"
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
            monkeypatch.setenv("OPENFPGALOADER", str(path))

        install(f'echo "$@" > {tmp_path}/arguments')
        return install

    @pytest.fixture
    def bitstream(self, cli, model, tools, tmp_path):
        out = tmp_path / "demo.bit"
        assert cli("build", model, "--board", "icepi-zero", "--out", out).status == 0
        return out

    def test_hands_the_file_to_the_loader(self, cli, loader, bitstream, tmp_path):
        assert cli("program", bitstream, "--board", "icepi-zero").status == 0
        assert (tmp_path / "arguments").read_text().split() == ["-b", "icepi-zero", str(bitstream)]

    def test_no_board_attached(self, cli, loader, bitstream):
        """Recorded from openFPGALoader 1.1.1, which ends its standard output with a word of its own."""
        loader(
            "echo 'unable to open ftdi device: -3 (device not found)' >&2\n"
            "echo 'JTAG init failed with: unable to open ftdi device' >&2\necho empty; exit 1"
        )
        error = cli("program", bitstream, "--board", "icepi-zero").error
        assert "icepi-zero: unable to open ftdi device: -3 (device not found); connect the board" in error

    def test_loader_that_says_nothing(self, cli, loader, bitstream):
        loader("exit 3")
        assert "icepi-zero: exit status 3; " in cli("program", bitstream, "--board", "icepi-zero").error

    def test_loader_without_its_library(self, cli, loader, bitstream):
        loader(
            "echo 'openFPGALoader: error while loading shared libraries: libftdi1.so.2: cannot open shared "
            "object file: No such file or directory' >&2; exit 127"
        )
        error = cli("program", bitstream, "--board", "icepi-zero").error
        assert "openFPGALoader: needs the system's libftdi1.so.2; install it, e.g. apt install" in error

    def test_bitstream_of_another_family(self, cli, loader, bitstream):
        assert "no bitstream for 1BitSquared" in cli("program", bitstream, "--board", "icebreaker").error

    def test_bitstream_of_another_board_of_the_family(self, cli, loader, bitstream):
        bitstream.write_bytes(CONTENT.replace(BOARD.identity, find_board("ulx3s-85f").identity))
        described = bitstreams.report_path(bitstream)
        described.write_text(described.read_text().replace(sha256(CONTENT), sha256(bitstream.read_bytes())))
        assert "built for icepi-zero" in cli("program", bitstream, "--board", "ulx3s-85f").error

    def test_bitstream_of_another_part_without_its_report(self, cli, loader, bitstream):
        bitstreams.report_path(bitstream).unlink()
        error = cli("program", bitstream, "--board", "ulx3s-85f").error
        assert "no bitstream for Radiona ULX3S, ECP5 LFE5U-85F-6; build one with" in error
        assert cli("program", bitstream, "--board", "icepi-zero").status == 0

    def test_bitstream_that_its_report_does_not_describe(self, cli, loader, bitstream):
        bitstream.write_bytes(CONTENT + b"more")
        assert "not the bitstream" in cli("program", bitstream, "--board", "icepi-zero").error

    def test_damaged_report(self, cli, loader, bitstream):
        bitstreams.report_path(bitstream).write_text("{")
        assert "damaged report" in cli("program", bitstream, "--board", "icepi-zero").error

    def test_missing_file(self, cli, loader, tmp_path):
        error = cli("program", tmp_path / "none.bit", "--board", "icepi-zero").error
        assert "none.bit: cannot be read" in error


def test_report_has_what_was_packed_beside_what_was_predicted(tools):
    shape = SpnShape((2, 2, 1), height=4, max_length=32)
    resources = bitstreams.build_bitstream(shape, BOARD, 5, status=lambda *_: None).report["resources"]
    assert resources["used"] == {"luts": 3, "registers": 7, "dsps": 3, "block_rams": 3}
    assert resources["estimate"] == predict(BOARD, shape, BOARD.folds(shape, 5))


def test_model_that_cannot_fit_is_refused_before_synthesis(cli, tools, tmp_path):
    parameters = SpnParameters.random(SpnShape((24, 24, 24, 2)), np.random.default_rng(0))
    save(tmp_path / "wide.safetensors", Artifact(parameters, (6,) * 4, {}))
    error = cli("build", tmp_path / "wide.safetensors", "--board", "icebreaker").error
    assert "icebreaker: " in error
    assert "no multiplier budget fits; use icepi-zero or a smaller network" in error
    assert tools == []


def test_boards_lists_what_each_has_and_what_fits(cli):
    listed = json.loads(cli("boards", "--json").out)["boards"]
    assert [board["board"] for board in listed] == ["ulx3s-85f", "icepi-zero", "icebreaker"]
    largest, smaller, _ = listed
    assert largest["fits"]
    assert largest["multipliers"] == 144
    assert largest["maps_per_second"] == pytest.approx(largest["clock_mhz"] * 1e6 / 18_432)
    assert largest["predicted_luts"] < largest["luts"]
    assert largest["widest_channels"] > smaller["widest_channels"] >= 8


def test_boards_say_where_nothing_fits(cli, tmp_path):
    parameters = SpnParameters.random(SpnShape((255, 255, 2)), np.random.default_rng(0))
    save(tmp_path / "wide.safetensors", Artifact(parameters, (6,) * 3, {}))
    listed = json.loads(cli("boards", "--model", tmp_path / "wide.safetensors", "--json").out)["boards"]
    assert not any(board["fits"] for board in listed)
    assert {board["multipliers"] for board in listed} == {None}
    assert "–" in cli("boards", "--model", tmp_path / "wide.safetensors").out
