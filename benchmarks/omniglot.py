"""Few-shot learning on Omniglot: MAML with AKM, without it, and adapting r and s alone.

    python benchmarks/omniglot.py --data FILE.npz [--seeds 3] [--out FILE.json] [--work DIR]

FILE.npz holds the background and evaluation characters (``adakern.data.image_sets.read_omniglot``), 28×28.
The background set trains, its rotations as further classes; the evaluation set tests. Networks meta-train
in two stages: first the inner loop adapts the classifier alone, on 20-way 1-shot episodes, which are
cheap and teach most; then it adapts what the variant says, on 5-way episodes of the shots that are
tested. Variants of one seed and network share the first stage. Runs are kept in the work folder and
resumed there; the learners in it (``learner.safetensors``) are what the table's rows were measured with.
The results file is written anew after every row.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from openvaccine import interval

from adakern.data.image_sets import read_omniglot
from adakern.data.images import ImageSet
from adakern.files import write_atomically
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

WARM_UP_LOOP = InnerLoop(scope="head", steps=1)
WARM_UP_EPISODES = EpisodeShape(ways=20, shots=1, queries=3)

WAYS, QUERIES = 5, 5
TEST_QUERIES = 15
TEST_SEED = 1000


@dataclass(frozen=True)
class Variant:
    """A row of the table: which network, and what its inner loop adapts."""

    name: str
    modulated: bool
    loop: InnerLoop


VARIANTS = (
    Variant("AKM, all parameters", True, InnerLoop(scope="all", steps=2)),
    Variant("plain, all parameters", False, InnerLoop(scope="all", steps=2)),
    Variant("AKM, r and s and classifier", True, InnerLoop(scope="kernel+head", steps=2)),
    Variant("AKM, r and s alone", True, InnerLoop(scope="kernel", steps=3)),
)


def warmed_up(modulated: bool, seed: int, iterations: int, images: ImageSet, work: Path) -> MetaLearner:
    """A network after the first stage."""
    torch.manual_seed(seed)
    config = AkmNetworkConfig.from_json(NETWORK.to_json() | {"modulated": modulated})
    settings = MetaSettings(iterations=iterations, tasks=4, learning_rate=3e-3, seed=seed, every=500)
    learner = MetaLearner(AkmNetwork(config), WARM_UP_LOOP)
    out = work / f"{'akm' if modulated else 'plain'}-{seed}-{iterations}"
    return meta_train(learner, images, out, WARM_UP_EPISODES, settings, progress=True).learner


def run(
    variant: Variant,
    shots: int,
    seed: int,
    training: ImageSet,
    test: ImageSet,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Train and measure one variant: its row."""
    started = time.process_time()
    warm = warmed_up(variant.modulated, seed, arguments.warm_up, training, arguments.work)
    torch.manual_seed(seed)
    learner = warm.with_loop(variant.loop)
    settings = MetaSettings(
        iterations=arguments.iterations, tasks=8, learning_rate=1e-3, rate_factor=20, seed=seed, every=100
    )
    network = "akm" if variant.modulated else "plain"
    out = arguments.work / f"{network}-{variant.loop.scope}-{shots}-{seed}-{arguments.iterations}"
    result = meta_train(learner, training, out, EpisodeShape(WAYS, shots, QUERIES), settings, progress=True)
    sampler = EpisodeSampler(test, EpisodeShape(WAYS, shots, TEST_QUERIES))
    shares = measure(result.learner, sampler, arguments.episodes, TEST_SEED)
    adapted = sum(
        parameter.numel()
        for name, parameter in result.learner.network.named_parameters()
        if variant.loop.covers(name)
    )
    return {
        "variant": variant.name,
        "shots": shots,
        "seed": seed,
        "scope": variant.loop.scope,
        "modulated": variant.modulated,
        "parameters": result.learner.network.parameter_count(),
        "adapted": adapted,
        "episodes": arguments.episodes,
        "accuracy": float(shares.mean()),
        "over_episodes95": float(1.96 * shares.std(ddof=1) / len(shares) ** 0.5),
        "learner": str(out.relative_to(arguments.work)),
        "cpu_seconds": round(time.process_time() - started, 1),
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over seeds of each variant and number of shots."""
    found = {(row["variant"], row["shots"]): [] for row in rows}
    for row in rows:
        found[row["variant"], row["shots"]].append(row["accuracy"])
    return [{"variant": v, "shots": shots} | interval(values) for (v, shots), values in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="omniglot .npz, 28×28")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=4000, help="iterations of the first stage")
    parser.add_argument("--iterations", type=int, default=300, help="of the second stage")
    parser.add_argument("--episodes", type=int, default=600, help="to test on")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/omniglot.json"))
    parser.add_argument("--work", type=Path, default=Path("build/omniglot"), help="runs, resumable")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    factor = 28 // NETWORK.height
    training = read_omniglot(arguments.data, "background").reduced(factor).with_rotations()
    test = read_omniglot(arguments.data, "evaluation").reduced(factor)
    report: dict[str, Any] = {
        "command": f"python benchmarks/omniglot.py --data FILE.npz --seeds {arguments.seeds}",
        "classes": {"training": len(training.classes), "test": len(test.classes)},
        "network": NETWORK.to_json(),
        "warm_up": {"iterations": arguments.warm_up, "loop": WARM_UP_LOOP.to_json()},
        "iterations": arguments.iterations,
        "rows": [],
    }
    for seed in range(arguments.seeds):
        for shots in (1, 5):
            for variant in VARIANTS:
                row = run(variant, shots, seed, training, test, arguments)
                print(json.dumps(row), flush=True)
                report["rows"].append(row)
                report["summary"] = summary(report["rows"])
                text = json.dumps(report, indent=1) + "\n"
                write_atomically(arguments.out, lambda path, text=text: path.write_text(text))


if __name__ == "__main__":
    main()
