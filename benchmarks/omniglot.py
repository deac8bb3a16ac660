"""Few-shot learning on Omniglot: MAML with AKM, without it, and adapting r and s alone.

    python benchmarks/omniglot.py --data FILE.npz [--seeds 3] [--out FILE.json] [--work DIR]

FILE.npz holds the background and evaluation characters (``adakern.data.image_sets.read_omniglot``), 28×28,
which are reduced to 14×14. The split is that of Finn et al. 2017: of all 1,623 characters in random order
1,100 train, their rotations as further classes, 100 are for choosing settings, 423 test.

Networks meta-train in three stages. In the first a plain network's inner loop adapts the classifier
alone, on 20-way 1-shot episodes, which are cheap and teach most. In the second that goes on for fewer
iterations, with the plain network or with the AKM network that has its weights. In the third the
inner loop adapts what the variant says, on 5-way episodes of the shots that are tested. Variants of one
seed share the stages before. Runs are kept in the work folder and resumed there; the learners in it
(``learner.safetensors``) are what the rows were measured with. The results are written after every row,
and rows that the file has are not made again.
"""

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rows import collect, interval

from adakern.data.image_sets import read_omniglot
from adakern.data.images import ImageSet
from adakern.models import AkmNetwork, AkmNetworkConfig
from adakern.training.episodes import EpisodeSampler, EpisodeShape
from adakern.training.maml import InnerLoop, MetaLearner
from adakern.training.meta_run import MetaSettings, measure, meta_train

NETWORK = AkmNetworkConfig(
    channels=(1, 16, 32, 48, 64),
    height=14,
    length=14,
    downsample=("stride2", "stride2", "stride2", "stride2"),
    max_radius=2,
)

CHARACTERS = {"training": 1100, "validation": 100, "test": 423}
SPLIT_SEED = 0

HEAD_ALONE = InnerLoop(scope="head", steps=1)
TWENTY_WAYS = EpisodeShape(ways=20, shots=1, queries=3)

WAYS, QUERIES = 5, 5
TEST_QUERIES = 15
TEST_SEED = 1000


@dataclass(frozen=True)
class Variant:
    """A row of the table: which network, and what its inner loop adapts."""

    name: str
    modulated: bool
    loop: InnerLoop
    learning_rate: float = 3e-4
    rate_factor: float = 60.0


VARIANTS = (
    Variant("plain, classifier alone", False, InnerLoop.of("head", steps=2)),
    Variant("AKM, all parameters", True, InnerLoop.of("all", steps=2)),
    Variant("plain, all parameters", False, InnerLoop.of("all", steps=2)),
    Variant("AKM, r and s and classifier", True, InnerLoop.of("kernel+head", steps=2)),
    # Here the classifier is learned anew.
    Variant("AKM, r and s alone", True, InnerLoop.of("kernel", steps=3), learning_rate=1e-3, rate_factor=20),
)


def split(path: Path) -> dict[str, ImageSet]:
    """Characters of each part, 14×14; those that train with their rotations."""
    parts = [read_omniglot(path, part).reduced(28 // NETWORK.height) for part in ("background", "evaluation")]
    drawers = 20
    characters = np.concatenate([part.images for part in parts]).reshape(
        -1, drawers, *parts[0].images.shape[1:]
    )
    order = np.random.default_rng(SPLIT_SEED).permutation(len(characters))
    found, start = {}, 0
    for name, count in CHARACTERS.items():
        chosen = order[start : start + count]
        start += count
        found[name] = ImageSet(
            images=characters[chosen].reshape(-1, *characters.shape[2:]),
            labels=np.repeat(np.arange(count), drawers),
            classes=tuple(f"character {number}" for number in chosen),
        )
    return found | {"training": found["training"].with_rotations()}


@dataclass(frozen=True)
class Experiment:
    """The runs of one seed, kept below the folder ``work``."""

    seed: int
    iterations: tuple[int, int, int]
    images: dict[str, ImageSet]
    work: Path

    def _trained(
        self,
        name: str,
        learner: MetaLearner,
        shape: EpisodeShape,
        **settings: Any,
    ) -> MetaLearner:
        """``learner`` after its run in the folder ``name``, which is resumed."""
        chosen = MetaSettings(seed=self.seed, every=100, shift=1, **settings)
        out = self.work / f"{name}-{self.seed}"
        return meta_train(learner, self.images["training"], out, shape, chosen, progress=True).learner

    def start(self) -> MetaLearner:
        """First stage."""
        torch.manual_seed(self.seed)
        config = AkmNetworkConfig.from_json(NETWORK.to_json() | {"modulated": False})
        learner = MetaLearner(AkmNetwork(config), HEAD_ALONE)
        return self._trained(
            "first", learner, TWENTY_WAYS, iterations=self.iterations[0], tasks=4, learning_rate=3e-3
        )

    def embedding(self, modulated: bool) -> MetaLearner:
        """Second stage: the plain network, or the AKM network with its weights."""
        learner = self.start()
        if modulated:
            akm = MetaLearner(AkmNetwork(NETWORK), HEAD_ALONE)
            akm.load_state_dict(learner.state_dict(), strict=False)
            learner = akm
        return self._trained(
            f"second-{'akm' if modulated else 'plain'}",
            learner,
            TWENTY_WAYS,
            iterations=self.iterations[1],
            tasks=4,
            learning_rate=1e-3,
        )

    def learner(self, variant: Variant, shots: int) -> tuple[str, MetaLearner]:
        """Third stage: folder and learner."""
        start = self.embedding(variant.modulated)
        torch.manual_seed(self.seed)
        name = f"{'akm' if variant.modulated else 'plain'}-{variant.loop.scope}-{shots}"
        learner = self._trained(
            name,
            start.with_loop(variant.loop),
            EpisodeShape(WAYS, shots, QUERIES),
            iterations=self.iterations[2],
            tasks=8,
            learning_rate=variant.learning_rate,
            rate_factor=variant.rate_factor,
        )
        return f"{name}-{self.seed}", learner


def accuracies(learner: MetaLearner, images: ImageSet, shots: int, episodes: int) -> NDArray[np.float64]:
    """Share of right answers in each test episode; the episodes are the same for every learner."""
    sampler = EpisodeSampler(images, EpisodeShape(WAYS, shots, TEST_QUERIES))
    return measure(learner, sampler, episodes, TEST_SEED)


def row(experiment: Experiment, variant: Variant, shots: int, episodes: int) -> dict[str, Any]:
    """Train and measure one variant."""
    name, learner = experiment.learner(variant, shots)
    shares = accuracies(learner, experiment.images["test"], shots, episodes)
    network = learner.network
    return {
        "scope": variant.loop.scope,
        "modulated": variant.modulated,
        "parameters": network.parameter_count(),
        "adapted": sum(p.numel() for name, p in network.named_parameters() if variant.loop.covers(name)),
        "episodes": episodes,
        "accuracy": float(shares.mean()),
        "over_episodes95": float(1.96 * shares.std(ddof=1) / len(shares) ** 0.5),
        "validation": float(
            accuracies(learner, experiment.images["validation"], shots, episodes // 2).mean()
        ),
        "learner": name,
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over seeds of each variant and number of shots."""
    found: dict[tuple[str, int], list[float]] = {}
    for one in rows:
        found.setdefault((one["variant"], one["shots"]), []).append(one["accuracy"])
    return [
        {"variant": variant, "shots": shots} | interval(values) for (variant, shots), values in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="omniglot .npz, 28×28")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, nargs=3, default=(8000, 1500, 300), help="of the stages")
    parser.add_argument("--episodes", type=int, default=600, help="to test on")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/omniglot.json"))
    parser.add_argument("--work", type=Path, default=Path("build/omniglot"), help="runs, resumable")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = split(arguments.data)
    settings = {
        "command": f"python benchmarks/omniglot.py --data FILE.npz --seeds {arguments.seeds}",
        "characters": CHARACTERS,
        "network": NETWORK.to_json(),
        "iterations": list(arguments.iterations),
    }
    experiments = [
        Experiment(seed, tuple(arguments.iterations), images, arguments.work)
        for seed in range(arguments.seeds)
    ]
    wanted = (
        (
            {"variant": variant.name, "shots": shots, "seed": experiment.seed},
            partial(row, experiment, variant, shots, arguments.episodes),
        )
        for experiment in experiments
        for shots in (1, 5)
        for variant in VARIANTS
    )
    collect(arguments.out, settings, wanted, summary)


if __name__ == "__main__":
    main()
