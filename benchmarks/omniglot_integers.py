"""Omniglot in integers: the learners of benchmarks/omniglot.py, quantised, on the same test episodes.

    python benchmarks/omniglot_integers.py --data FILE.npz [--work DIR] [--episodes 200] [--anew 50]

Adaptation itself runs on the host in float, as with a deployed device; the result is rounded and the
queries run in exact integers. Where r, s or the classifier alone adapt, one artifact serves all episodes and
each sends its update; where every parameter adapts, the networks of the first ``--anew`` are each quantised
anew. Formats come from training images, and for an update from networks adapted to training episodes.

Further rows: the first ``--gateware`` episodes of seed 0's variants that send updates, on the Verilated
gateware as well, whose answers must be the integers, every bit. Rows that the file has are not made again.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omniglot import QUERIES, TEST_QUERIES, TEST_SEED, WAYS, split
from rows import collect, interval
from torch import Tensor

import adakern
from adakern.adaptation import adapt
from adakern.artifact import Artifact, quantise_maps
from adakern.data.images import ImageSet
from adakern.device.base import Device
from adakern.kernel_update import KernelUpdate
from adakern.models import AkmNetwork
from adakern.quantize import Calibration, quantise
from adakern.reference.akm import AkmReference
from adakern.training.episodes import Episodes, EpisodeSampler, EpisodeShape
from adakern.training.maml import MetaLearner

CALIBRATION_TASKS = 16
CALIBRATION_SEED = 500
EACH_TIME = 96
"""Training images that a network which is quantised anew in each episode is calibrated on."""

MULTIPLIERS = 144


def calibration(images: Tensor) -> Calibration:
    return Calibration(images, torch.full((len(images),), images.shape[3]))


class Integers:
    """A learner in integers: for each task an artifact of its adapted network."""

    def __init__(self, learner: MetaLearner, training: ImageSet, shots: int) -> None:
        self.learner = learner
        shape = EpisodeShape(WAYS, shots, QUERIES)
        tasks = EpisodeSampler(training, shape).sample(CALIBRATION_TASKS, (CALIBRATION_SEED,))
        self.images = torch.cat([tasks.support.flatten(0, 1), tasks.query.flatten(0, 1)])
        self.updates = learner.loop.scope != "all"
        if self.updates:
            adapted = [learner.adapt(support, tasks.support_labels)[0] for support in tasks.support]
            # The classifier of a learner that adapts it is zero: that of an adapted network has a scale.
            start = adapted[0] if learner.loop.adapts_head else learner.network
            self.base = quantise(start, calibration(self.images), adapted=adapted, clip_sigma=True)

    def adapted(self, network: AkmNetwork) -> Artifact:
        """The artifact of a network that the learner adapted."""
        if not self.updates:
            return quantise(network, calibration(self.images[:EACH_TIME]), clip_sigma=True)
        update = KernelUpdate.of(network, self.learner.loop.adapts_head)
        return adapt(self.base, update, clip_sigma=True)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds of each variant and number of shots."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        if row["gateware"]:
            continue
        found.setdefault((row["variant"], row["shots"]), []).append(row)
    return [
        {"variant": variant, "shots": shots}
        | {name: interval([row[name] for row in of]) for name in ("float", "integers", "difference")}
        for (variant, shots), of in found.items()
    ]


def right(logits: np.ndarray, outputs: Sequence[int], labels: Tensor) -> float:
    """Share of right answers; ``outputs``: the label that each output stands for."""
    return float((np.array(outputs)[logits.argmax(axis=1)] == labels.numpy()).mean())


def measure(
    learner: MetaLearner, images: dict[str, ImageSet], shots: int, episodes: int, gateware: bool
) -> dict[str, Any]:
    """Shares of right answers of float network and integers over the same episodes."""
    integers = Integers(learner, images["training"], shots)
    sampler = EpisodeSampler(images["test"], EpisodeShape(WAYS, shots, TEST_QUERIES))
    tasks = sampler.sample(episodes, (TEST_SEED,))
    device = adakern.open(f"verilator:?multipliers={MULTIPLIERS}", integers.base) if gateware else None
    try:
        rows = [episode(learner, integers, tasks, index, device) for index in range(episodes)]
    finally:
        if device is not None:
            device.close()
    exact, rounded, same = (np.array(column) for column in zip(*rows, strict=True))
    difference = rounded - exact
    return {
        "float": float(exact.mean()),
        "integers": float(rounded.mean()),
        "difference": float(difference.mean()),
        "difference95": float(1.96 * difference.std(ddof=1) / len(rows) ** 0.5),
        "images": episodes * WAYS * TEST_QUERIES,
        "equal_on_gateware": int(same.sum()),
    }


def episode(
    learner: MetaLearner, integers: Integers, tasks: Episodes, index: int, device: Device | None
) -> tuple[float, float, int]:
    """Shares of right answers in float and in integers; the device's answers that equal the integers."""
    network, outputs = learner.adapt(tasks.support[index], tasks.support_labels)
    with torch.no_grad():
        exact = network(tasks.query[index]).numpy()
    artifact = integers.adapted(network)
    maps = quantise_maps(tasks.query[index].numpy(), artifact.input_format)
    logits = AkmReference(artifact.parameters).run(list(maps)).logits
    same = 0
    if device is not None:
        device.update(artifact.parameters)
        answers = device.predict(maps, np.full(len(maps), maps.shape[3])).logits
        same = int((answers == logits).all(axis=1).sum())
        assert same == len(maps), "the gateware's answers are not the reference's"
    labels = tasks.query_labels
    return right(exact, outputs, labels), right(logits, outputs, labels), same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="omniglot .npz, 28×28")
    parser.add_argument("--trained", type=Path, default=Path("benchmarks/results/omniglot.json"))
    parser.add_argument("--work", type=Path, default=Path("build/omniglot"), help="that of omniglot.py")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--anew", type=int, default=50, help="episodes where each network is quantised anew")
    parser.add_argument("--gateware", type=int, default=5, help="episodes on the Verilated gateware")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/omniglot_integers.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = split(arguments.data)
    settings = {
        "command": "python benchmarks/omniglot_integers.py --data FILE.npz "
        f"--episodes {arguments.episodes} --anew {arguments.anew}",
        "multipliers": MULTIPLIERS,
        "episodes": arguments.episodes,
        "anew": arguments.anew,
    }

    trained = [row for row in json.loads(arguments.trained.read_text())["rows"] if row["scope"] != "head"]
    # What is quantised anew in each episode takes longest.
    trained.sort(key=lambda row: row["scope"] == "all")

    def wanted() -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
        for gateware in (True, False):
            for row in trained:
                anew = row["scope"] == "all"
                if gateware and (anew or row["seed"] != 0):
                    continue
                there = arguments.anew if anew else arguments.episodes
                episodes = arguments.gateware if gateware else there
                learner = MetaLearner.load(arguments.work / row["learner"] / "learner.safetensors")
                key = {name: row[name] for name in ("variant", "seed", "shots")}
                key |= {"episodes": episodes, "gateware": gateware}
                yield key, partial(measure, learner, images, row["shots"], episodes, gateware)

    collect(arguments.out, settings, wanted(), summary)


if __name__ == "__main__":
    main()
