"""A small model, small inputs, and the command line called in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from adakern.artifact import Artifact, save
from adakern.parameters import SpnParameters
from adakern_spec.network import SpnShape

MAX_LENGTH = 60
SHAPE = SpnShape(channels=(3, 4, 2), height=4, max_length=MAX_LENGTH)

Cli = Callable[..., "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit status, standard output and standard error."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error line; fails if there is none, more than that, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``adakern`` with these arguments."""
    from adakern.cli import run

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        return Outcome(status, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def small_artifact() -> Artifact:
    """A DNA encoder with two iterations; its integers are random and not those of its float weights."""
    import torch

    from adakern.models import AdaptiveEncoder, EncoderConfig

    config = EncoderConfig(
        height=SHAPE.height,
        alphabet="dna",
        channels=SHAPE.channels[0],
        spn_channels=SHAPE.channels,
        iterations=2,
        task="classification",
        outputs=2,
        head_width=4,
        head_dilations=(1,),
    )
    torch.manual_seed(0)
    state = AdaptiveEncoder(config).state_dict()
    return Artifact(
        parameters=SpnParameters.random(SHAPE, np.random.default_rng(5)),
        fractions=(6,) * len(SHAPE.channels),
        float_parameters={name: values.numpy() for name, values in state.items()},
        encoder=config.to_json(),
    )


@pytest.fixture(scope="session")
def model(small_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of `small_artifact`."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save(path, small_artifact)
    return path


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """Five sequences of 1 to `MAX_LENGTH` letters."""
    rng = np.random.default_rng(1)
    lengths = (12, 1, MAX_LENGTH, 7, 33)
    path = tmp_path / "input.fasta"
    path.write_text(
        "".join(
            f">seq{index}\n{''.join(rng.choice(list('ACGT'), length))}\n"
            for index, length in enumerate(lengths)
        )
    )
    return path
