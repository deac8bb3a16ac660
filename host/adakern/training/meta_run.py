"""Meta-training: the outer loop, with checkpoints, an exact resume and a learning curve."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Adam

from adakern.data.images import ImageSet
from adakern.files import check_writable
from adakern_spec.errors import AdakernError

from .checkpoint import CHECKPOINT, Checkpoint, TrainingStopped
from .curve import draw_episode_curve, save_curve
from .episodes import EpisodeSampler, EpisodeShape
from .maml import MetaLearner
from .progress import progress_bar, summary
from .settings import check_ranges

LEARNER = "learner.safetensors"

_VALIDATION = 1
_TRAINING = 0
"""Part of every batch's seed, so that no episode of training is one of validation."""

_WARM_UP = 20
"""Iterations before the full learning rate."""


@dataclass(frozen=True)
class MetaSettings:
    """Settings of one run; JSON-serialisable.

    ``iterations`` of Adam with ``tasks`` episodes each, a short warm-up and a cosine to zero. The
    logarithms of the inner step sizes learn at ``rate_factor`` times the rate. ``clip`` bounds the
    gradient's norm. Every ``every`` iterations, and where a run is interrupted, a checkpoint is written, and
    with the former an entry of the curve;
    ``validation_episodes`` measure it, where there are classes to measure on. ``shift`` moves training
    images by up to so many pixels (`EpisodeSampler`).
    """

    iterations: int = 2000
    tasks: int = 8
    learning_rate: float = 3e-3
    rate_factor: float = 5.0
    clip: float = 1.0
    seed: int = 0
    every: int = 100
    validation_episodes: int = 40
    shift: int = 0

    def __post_init__(self) -> None:
        positive = ("iterations", "tasks", "learning_rate", "clip", "every", "validation_episodes")
        check_ranges(self, "meta-training", positive, ("seed", "rate_factor", "shift"))

    def to_json(self) -> dict[str, Any]:
        """Plain values, as json.dumps takes them."""
        return asdict(self)

    def rate(self, iteration: int) -> float:
        """Learning rate, from the iteration alone, so that a resumed run follows the same curve."""
        warm = min(1.0, (iteration + 1) / _WARM_UP)
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * iteration / self.iterations))


@dataclass(frozen=True)
class MetaResult:
    """A finished run: the learner, its file, and the curve (as in curve.json)."""

    learner: MetaLearner
    path: Path
    curve: tuple[dict[str, Any], ...]


def measure(
    learner: MetaLearner, sampler: EpisodeSampler, episodes: int, seed: int, batch: int = 20
) -> NDArray[np.float64]:
    """Share of right answers after adaptation to each of so many episodes, [episodes]."""
    shares = []
    with torch.no_grad():
        for start in range(0, episodes, batch):
            count = min(batch, episodes - start)
            _, accuracies = learner.query(sampler.sample(count, (seed, _VALIDATION, start)))
            shares.append(accuracies.double().numpy())
    return np.concatenate(shares)


def meta_train(
    learner: MetaLearner,
    images: ImageSet,
    out: Path,
    shape: EpisodeShape,
    settings: MetaSettings,
    *,
    validation: ImageSet | None = None,
    progress: bool = False,
) -> MetaResult:
    """Meta-train ``learner`` in place on episodes of ``images``; all that it writes lies in ``out``.

    Writes ``checkpoint.safetensors`` and ``curve.json`` as it goes, at the end ``curve.png`` and
    ``learner.safetensors``. A folder with a checkpoint of the same run (learner as given, episodes,
    settings and data) is resumed and ends, at the same number of threads, with bitwise the same
    weights as a run that was never interrupted. ``validation`` has other classes and only measures.
    Raises InputError: classes with too few images, a folder with another run; AdakernError: a folder
    that cannot be written, non-finite loss; TrainingStopped on Ctrl-C, when every whole iteration is kept.
    """
    check_writable(out / LEARNER)
    run = _Run(learner, images, validation, out, shape, settings)
    try:
        with progress_bar(progress) as bar:
            task = bar.add_task("iteration", total=settings.iterations, completed=run.done, figures="")
            while run.done < settings.iterations:
                entry = run.stretch(lambda: bar.advance(task))
                bar.update(task, figures=summary(entry["loss"], run.figures(entry)))
    except KeyboardInterrupt:
        raise run.stopped() from None
    draw_episode_curve(out / "curve.png", run.curve)
    learner.save(out / LEARNER)
    return MetaResult(learner.eval(), out / LEARNER, tuple(run.curve))


class _Run:
    """State of one run between stretches of ``every`` iterations."""

    def __init__(
        self,
        learner: MetaLearner,
        images: ImageSet,
        validation: ImageSet | None,
        out: Path,
        shape: EpisodeShape,
        settings: MetaSettings,
    ) -> None:
        self.learner, self.out, self.settings = learner, out, settings
        self.sampler = EpisodeSampler(images, shape, settings.shift, "training images")
        self.validation = (
            EpisodeSampler(validation, shape, what="validation images") if validation is not None else None
        )
        learner.start(shape.ways)  # refuses episodes with another number of classes than a learned classifier
        rates = set(map(id, learner.log_rates.parameters()))
        learned = [parameter for parameter in learner.parameters() if parameter.requires_grad]
        self.learned = learned
        self.optimiser = Adam(
            [
                {"params": [p for p in learned if id(p) not in rates], "rate_factor": 1.0},
                {"params": [p for p in learned if id(p) in rates], "rate_factor": settings.rate_factor},
            ]
        )
        self.identity = {
            "network": json.loads(json.dumps(learner.network.config.to_json())),
            "loop": learner.loop.to_json(),
            "settings": settings.to_json(),
            "episodes": asdict(shape),
            "start": _digest(value.numpy() for value in learner.state_dict().values()),
            "images": _digest((images.images, images.labels)),
            "validation": _digest((validation.images, validation.labels)) if validation is not None else "",
        }
        # Behind the last whole iteration.
        self.kept = Checkpoint.resume(out, self.identity, learner, self.optimiser)
        run = self.kept.run if self.kept is not None else {}
        self.curve: list[dict[str, Any]] = run.get("curve", [])
        # Loss, accuracy and seconds of each iteration behind the curve.
        self.stretched: list[list[float]] = list(run.get("stretched", ()))

    @property
    def done(self) -> int:
        """Iterations so far."""
        return _iterations(self.curve, self.stretched)

    def _keep(self) -> Checkpoint:
        """The state behind a whole iteration: what an interruption falls back to."""
        run = {**self.identity, "curve": list(self.curve), "stretched": list(self.stretched)}
        self.kept = Checkpoint.of(self.learner, self.optimiser, run)
        return self.kept

    def stopped(self) -> TrainingStopped:
        """What to raise on Ctrl-C, with every whole iteration written."""
        if self.kept is None:
            return TrainingStopped(
                "stopped before the first iteration was whole", str(self.out), "run it again"
            )
        self.kept.save(self.out / CHECKPOINT)
        curve, stretched = self.kept.run["curve"], self.kept.run.get("stretched", ())
        if curve:
            save_curve(self.out / "curve.json", curve)
            draw_episode_curve(self.out / "curve.png", curve)
        return TrainingStopped(
            f"stopped after iteration {_iterations(curve, stretched)} of {self.settings.iterations}",
            str(self.out),
            "run it again to resume",
        )

    def stretch(self, advance: Callable[[], None]) -> dict[str, Any]:
        """Train up to the next entry of the curve, then write checkpoint and curve; returns the entry.

        ``advance`` is called after every iteration.
        """
        settings = self.settings
        last = min(_iterations(self.curve, ()) + settings.every, settings.iterations)
        self.learner.train()
        while self.done < last:
            started = time.monotonic()
            loss, accuracy = self._step(self.done)
            self.stretched.append([loss, accuracy, time.monotonic() - started])
            self._keep()
            advance()
        started = time.monotonic()
        loss, accuracy, seconds = np.mean(self.stretched, axis=0).tolist()
        entry: dict[str, Any] = {"iteration": last, "loss": loss, "accuracy": accuracy}
        if self.validation is not None:
            self.learner.eval()
            shares = measure(self.learner, self.validation, settings.validation_episodes, settings.seed)
            entry["validation"] = float(shares.mean())
        entry["seconds"] = seconds * len(self.stretched) + time.monotonic() - started
        self.curve, self.stretched = [*self.curve, entry], []
        self._keep().save(self.out / CHECKPOINT)
        save_curve(self.out / "curve.json", self.curve)
        return entry

    @staticmethod
    def figures(entry: dict[str, Any]) -> dict[str, float]:
        return {name: entry[name] for name in ("accuracy", "validation") if name in entry}

    def _step(self, iteration: int) -> tuple[float, float]:
        settings = self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = settings.rate(iteration) * group["rate_factor"]
        episodes = self.sampler.sample(settings.tasks, (settings.seed, _TRAINING, iteration))
        losses, accuracies = self.learner.query(episodes)
        loss: Tensor = losses.mean()
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.learned, settings.clip)
        value = float(loss.detach())
        if not (math.isfinite(value) and torch.isfinite(norm)):
            raise AdakernError(
                f"loss {value}, gradient norm {float(norm)}",
                f"meta-training, iteration {iteration + 1}",
                "lower the learning rate or the inner rates",
            )
        self.optimiser.step()
        return value, float(accuracies.detach().mean())


def _iterations(curve: Sequence[Mapping[str, Any]], stretched: Sequence[object]) -> int:
    """Iterations in the curve and behind it."""
    return (curve[-1]["iteration"] if curve else 0) + len(stretched)


def _digest(arrays: Iterable[NDArray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
