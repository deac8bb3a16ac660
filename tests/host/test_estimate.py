"""Estimates against figures worked out by hand and against the design's own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adakern.akm_parameters import AkmParameters
from adakern.artifact import Artifact, save
from adakern.estimate import estimate
from adakern.parameters import SpnParameters
from adakern_hw.bitstream import choose_folds
from adakern_hw.boards import find_board
from adakern_hw.footprint import KINDS
from adakern_hw.prediction import predict
from adakern_spec import cycles
from adakern_spec.akm import AkmLayer, AkmShape
from adakern_spec.errors import InputError, ShapeError
from adakern_spec.network import REFERENCE, REFERENCE_LENGTH, SpnShape


def test_reference_network_meets_the_figures_of_the_design() -> None:
    """Design part 3: 64 + 64 + 16 multipliers make 9 cycles per pixel; 16 · 128 · 9 = 18,432 per map."""
    result = estimate(REFERENCE, 144, REFERENCE_LENGTH)
    assert [stage.multipliers for stage in result.stages] == [64, 64, 16]
    assert [stage.interval for stage in result.stages] == [9, 9, 9]
    assert (result.macs, result.multipliers, result.interval) == (2_654_208, 144, 18_432)
    assert result.utilisation == 1.0
    assert result.latency <= 20_500


def test_memory_is_counted_by_hand() -> None:
    """5 → 2 channels on 3 rows: 90 weights, 2 · (32-bit bias + 5-bit shift), two columns of pixels."""
    result = estimate(SpnShape(channels=(5, 2), height=3, weight_bits=4), 45, 8)
    (stage,) = result.stages
    assert (stage.weight_bits, stage.channel_bits, stage.line_bits) == (360, 74, 240)
    # The link's copy: 90 bytes of weights, 2 · 5 of channels, 2 · 5 of outputs, 2 · 5 of directions.
    assert result.memory_bits == 360 + 74 + 240 + 8 * 120


@pytest.mark.parametrize("multipliers", [3, 36, 144, 600])
def test_smaller_budgets_take_longer_and_are_kept(multipliers: int) -> None:
    result = estimate(REFERENCE, multipliers, REFERENCE_LENGTH)
    assert result.multipliers <= multipliers
    assert result.interval == 16 * 128 * max(stage.interval for stage in result.stages)
    assert result.utilisation == pytest.approx(result.macs / (result.multipliers * result.interval))


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(ShapeError, match="at least 3"):
        estimate(REFERENCE, 2, 128)
    with pytest.raises(InputError, match="length 0"):
        estimate(REFERENCE, 144, 0)


def test_command_prints_the_same_figures(cli: Callable[..., Any], model: Path) -> None:
    shape = SpnShape(channels=(3, 4, 2), height=4, max_length=60)
    expected = estimate(shape, 30, 20)
    outcome = cli("estimate", model, "--multipliers", 30, "--length", 20, "--json")
    found = json.loads(outcome.out)
    assert found == json.loads(json.dumps(expected.to_json()))
    assert found["latency"] == expected.latency
    text = cli("estimate", model, "--multipliers", 30, "--length", 20).out
    assert f"{expected.interval:,} back to back, {expected.latency:,} from first pixel to result" in text


def test_command_takes_the_longest_map_where_128_is_too_long(cli: Callable[..., Any], model: Path) -> None:
    assert json.loads(cli("estimate", model, "--json").out)["length"] == 60


def test_board_is_predicted_at_its_clock_with_the_folds_of_a_build(
    cli: Callable[..., Any], model: Path
) -> None:
    board = find_board("icepi-zero")
    shape = SpnShape(channels=(3, 4, 2), height=4, max_length=60)
    folds = choose_folds(board, shape)
    found = json.loads(cli("estimate", model, "--board", board.name, "--json").out)
    assert found["footprint"] == predict(board, shape, folds)
    assert found["multipliers"] == cycles.multipliers(folds)
    assert found["interval"] == cycles.interval(shape, folds, 60)
    assert found["maps_per_second"] == pytest.approx(board.clock / found["interval"])
    assert found["latency_us"] == pytest.approx(1e6 * found["latency"] / board.clock)
    assert found["capacity"] == {"luts": 24_288, "registers": 24_288, "dsps": 28, "block_rams": 56}
    text = cli("estimate", model, "--board", board.name).out
    assert f"{found['footprint']['luts']:,} of 24,288" in text


def test_budget_is_kept_on_a_board(cli: Callable[..., Any], model: Path) -> None:
    options = ("--board", "ulx3s-85f", "--multipliers", 5, "--json")
    assert json.loads(cli("estimate", model, *options).out)["multipliers"] <= 5


def test_what_cannot_fit_is_refused_with_what_would(cli: Callable[..., Any], tmp_path: Path) -> None:
    parameters = SpnParameters.random(SpnShape((255, 255, 2)), np.random.default_rng(0))
    save(tmp_path / "wide.safetensors", Artifact(parameters, (6,) * 3, {}))
    outcome = cli("estimate", tmp_path / "wide.safetensors", "--board", "ulx3s-85f")
    assert outcome.status == 1
    assert "no multiplier budget and no board fits; use a smaller network" in outcome.error


@pytest.fixture
def modulated(tmp_path: Path) -> Path:
    """A kernel modulation network so small that an iCE40 has the DSP blocks for it."""
    shape = AkmShape(1, 4, (AkmLayer(2),), 2, radius=1, max_length=4)
    path = tmp_path / "modulated.safetensors"
    save(
        path,
        Artifact(AkmParameters.random(shape, np.random.default_rng(0)), (8, 5, 20), {}, network={}),
    )
    return path


def test_kernel_modulation_is_predicted_on_a_board(cli: Callable[..., Any], modulated: Path) -> None:
    found = json.loads(cli("estimate", modulated, "--board", "ulx3s-85f", "--json").out)
    assert tuple(found["footprint"]) == KINDS
    assert f"{found['footprint']['luts']:,} of 83,640" in cli("estimate", modulated, "-b", "ulx3s-85f").out
    listed = json.loads(cli("boards", "--model", modulated, "--json").out)["boards"]
    assert [board["fits"] for board in listed] == [True, True, None]
    assert listed[0]["predicted_luts"] == found["footprint"]["luts"]


def test_what_was_not_learned_for_a_family_is_not_known(cli: Callable[..., Any], modulated: Path) -> None:
    """None was synthesised for an iCE40."""
    found = json.loads(cli("estimate", modulated, "--board", "icebreaker", "--json").out)
    assert list(found["footprint"]) == ["dsps"]
    text = cli("estimate", modulated, "--board", "icebreaker").out
    assert "not known of 5,280" in text
    assert f"{found['footprint']['dsps']} of 8" in text
    listed = cli("boards", "--model", modulated).out
    assert "may fit" in listed
    assert "– of 5,280" in listed
