"""`verify`: right devices pass, wrong ones are caught and the fault is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from adakern.artifact import Artifact
from adakern.device.emulator import EmulatorDevice
from adakern.parameters import SpnParameters
from adakern.verification import EXTREME_SETS, adversarial_maps, cases_in_all, verify
from adakern_spec.network import SpnShape, folds_for_budget

Cli = Callable[..., Any]


def test_adversarial_maps_reach_every_limit() -> None:
    for signed, low, high in ((False, 0, 255), (True, -128, 127)):
        shape = SpnShape(channels=(2, 2), height=3, input_signed=signed, max_length=50)
        maps = [values for _, values in adversarial_maps(shape, np.random.default_rng(0), 50)]
        assert {values.shape[2] for values in maps} >= {1, 50}
        assert all(values.shape[:2] == (2, 3) for values in maps)
        assert all(values.dtype == (np.int8 if signed else np.uint8) for values in maps)
        for limit in (low, high, 0):
            assert any((values == limit).all() for values in maps)
        # A checkerboard: every neighbour along height and length at the other limit.
        assert any(
            {int(v) for v in np.unique(values)} == {low, high}
            and (values[:, 1:] != values[:, :-1]).all()
            and (values[:, :, 1:] != values[:, :, :-1]).all()
            for values in maps
            if values.shape[2] > 1
        )


def test_right_device_passes_and_keeps_its_model(small_artifact: Artifact) -> None:
    device = EmulatorDevice(small_artifact.shape, folds_for_budget(small_artifact.shape, 36))
    counted = []
    outcome = verify(device, small_artifact.parameters, 12, seed=3, progress=counted.append)
    assert outcome.mismatch is None
    assert outcome.maps == cases_in_all(12) == counted[-1] == len(counted)
    values = np.full((3, 4, 5), 9, np.uint8)
    (after,) = device.stream([values])
    device.load(small_artifact.parameters)
    (right,) = device.stream([values])
    assert after == right


def test_longest_map_is_the_limit_of_the_device(small_artifact: Artifact) -> None:
    seen = []
    shape = small_artifact.shape

    class Watched(EmulatorDevice):
        def stream(self, maps: Any) -> Any:
            for values in maps:
                seen.append(values.shape[2])
                yield from super().stream([values])

    verify(
        Watched(shape, folds_for_budget(shape, 36)),
        small_artifact.parameters,
        5,
        0,
    )
    assert (min(seen), max(seen)) == (1, small_artifact.shape.max_length)


def test_saturating_parameters_are_loaded(small_artifact: Artifact) -> None:
    loaded: list[SpnParameters] = []
    shape = small_artifact.shape

    class Watched(EmulatorDevice):
        def load(self, parameters: SpnParameters) -> None:
            loaded.append(parameters)
            super().load(parameters)

    verify(
        Watched(shape, folds_for_budget(shape, 36)),
        small_artifact.parameters,
        0,
        0,
    )
    assert len(loaded) == EXTREME_SETS + 2
    assert loaded[0] == loaded[-1] == small_artifact.parameters
    for extreme in loaded[1:-1]:
        assert all(set(np.unique(weights)) <= {-128, 127} for weights in extreme.weights)


def test_command_reports_agreement(cli: Cli, model: Path) -> None:
    outcome = cli("verify", model, "--device", "emulator:", "--count", 4, "--seed", 9)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == f"emulator: agrees with the reference on {cases_in_all(4)} maps, every bit\n"
    report = json.loads(cli("verify", model, "--device", "emulator:", "--count", 4, "--json").out)
    assert report == {"device": "emulator:", "maps": cases_in_all(4), "agree": True, "mismatch": None}
