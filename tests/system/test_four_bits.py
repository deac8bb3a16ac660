"""Weights of 4 bits from a float encoder to the Verilated gateware."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adakern.artifact import load
from adakern.device.verilator import open_netlist
from adakern.models import AdaptiveEncoder, EncoderConfig, save_encoder
from adakern.parameters import SpnParameters
from adakern.verification import verify
from adakern_sim.netlists import byte_netlist
from adakern_spec.network import Fold, SpnShape

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("four bits")]

Cli = Callable[..., Any]

BUDGET = 60
CHANNELS = (3, 4, 2)
LENGTH = 40
CLOCK_HZ = 48_000_000


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder for DNA with random weights."""
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    config = EncoderConfig(
        height=4,
        alphabet="dna",
        channels=CHANNELS[0],
        spn_channels=CHANNELS,
        iterations=2,
        task="classification",
        outputs=2,
        head_width=4,
        head_dilations=(1,),
    )
    save_encoder(path, AdaptiveEncoder(config))
    return path


def test_encoder_with_4_bit_weights_answers_alike_on_emulator_and_gateware(
    cli: Cli, encoder: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    sequences, artifact = tmp_path / "sequences.fasta", tmp_path / "model.safetensors"
    lengths = [1, LENGTH, *rng.integers(2, LENGTH, 6)]
    records = (f">{index}\n{''.join(rng.choice(list('ACGT'), size))}\n" for index, size in enumerate(lengths))
    sequences.write_text("".join(records))
    quantised = cli(
        *("quantize", encoder, "--data", sequences, "--out", artifact),
        *("--bits", 4, "--longest", LENGTH, "--json"),
    )
    assert quantised.status == 0, quantised.err
    model = load(artifact)
    assert model.shape == SpnShape(CHANNELS, height=4, weight_bits=4, max_length=LENGTH)
    reached = {int(weight) for weights in model.parameters.weights for weight in weights.flat}
    assert min(reached) >= -8
    assert max(reached) == 7

    answers = []
    for device in ("emulator", "verilator"):
        outcome = cli("predict", artifact, sequences, "--device", f"{device}:?multipliers={BUDGET}", "--json")
        assert outcome.status == 0, outcome.err
        answers.append([json.loads(line) for line in outcome.out.splitlines()])
    assert len(answers[0]) == len(lengths)
    assert answers[0] == answers[1]

    outcome = cli("verify", artifact, "--device", f"verilator:?multipliers={BUDGET}", "--json")
    assert outcome.status == 0, outcome.err


def test_netlist_with_two_products_in_a_multiplier_is_exact() -> None:
    shape, folds = SpnShape((1, 3, 1), height=4, weight_bits=4, max_length=64), (Fold(3, 3), Fold(1, 9))
    netlist = byte_netlist("ecp5", shape, folds, CLOCK_HZ).verilog()
    # Two channels together and the third by itself; then a channel by itself.
    assert len(re.findall(r"^  MULT18X18D #\(", netlist, re.MULTILINE)) == 2 * 3 + 9
    with open_netlist("ecp5", shape, folds, CLOCK_HZ) as device:
        for extreme in (False, True):
            parameters = SpnParameters.random(shape, np.random.default_rng(1), extreme)
            assert verify(device, parameters, count=60, seed=0).mismatch is None
