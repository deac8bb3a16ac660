"""Settings of every test process; a small model, small inputs, and the command line without a process."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from adakern.artifact import Artifact

# The runner starts one worker per core; numerical libraries that each take all cores on top of that
# spend their time waiting for each other. Set before any of them is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a runner in the background, or under nohup, has ignored is ignored by the processes that tests start
# and then stop with just these signals.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

MAX_LENGTH = 60

Cli = Callable[..., "Outcome"]
Disk = Callable[..., Path]


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
def small_artifact() -> "Artifact":
    """A DNA encoder with two iterations; its integers are random and not those of its float weights."""
    import numpy as np
    import torch

    from adakern.artifact import Artifact
    from adakern.models import AdaptiveEncoder, EncoderConfig
    from adakern.parameters import SpnParameters
    from adakern_spec.network import SpnShape

    shape = SpnShape(channels=(3, 4, 2), height=4, max_length=MAX_LENGTH)
    config = EncoderConfig(
        height=shape.height,
        alphabet="dna",
        channels=shape.channels[0],
        spn_channels=shape.channels,
        iterations=2,
        task="classification",
        outputs=2,
        head_width=4,
        head_dilations=(1,),
    )
    torch.manual_seed(0)
    state = AdaptiveEncoder(config).state_dict()
    return Artifact(
        parameters=SpnParameters.random(shape, np.random.default_rng(5)),
        fractions=(6,) * len(shape.channels),
        float_parameters={name: values.numpy() for name, values in state.items()},
        encoder=config.to_json(),
    )


@pytest.fixture(scope="session")
def model(small_artifact: "Artifact", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of `small_artifact`."""
    from adakern.artifact import save

    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save(path, small_artifact)
    return path


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """Five sequences of 1 to `MAX_LENGTH` letters."""
    import numpy as np

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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounts a file system of so many bytes, with mount's options, as a folder; skips where it may not."""
    mounted: list[Path] = []

    def mount(size: int, *options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", ",".join((f"size={size}", *options)), "none", str(folder)]
        if (
            shutil.which("mount") is None
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("may not mount a file system")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
