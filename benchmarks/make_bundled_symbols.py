"""Writes what the demonstration of adaptation runs on: a learner, its artifact, and symbols to learn.

    python benchmarks/make_bundled_symbols.py [--learner FILE] [--seed 0]

The learner is one that benchmarks/omniglot.py trained (r, s and classifier adapt, 1 shot). The symbols are
in nobody's alphabet: each is a few random strokes, and each picture draws them anew with an unsteady hand.
The artifact is calibrated on other symbols than those that the demonstration learns.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from adakern.artifact import save
from adakern.data.images import ImageSet
from adakern.files import write_atomically
from adakern.quantize import Calibration, quantise
from adakern.training.episodes import EpisodeSampler, EpisodeShape
from adakern.training.maml import MetaLearner

BUNDLED = Path(__file__).parents[1] / "host" / "adakern" / "bundled"
LEARNER = Path("build/omniglot/akm-kernel+head-1-0/learner.safetensors")

SIDE, PEN = 28, 2
"""Pixels of a picture, and of the pen in it, as in Omniglot."""

OVERSAMPLING = 8
CLASSES, SHOTS, QUERIES = 5, 1, 6
TASKS, OTHER_SYMBOLS, OTHER_PICTURES = 16, 40, 8


def symbol(rng: np.random.Generator) -> np.ndarray:
    """Control points [strokes, 4, 2] of cubic Bézier curves in the unit square."""
    return rng.uniform(0.12, 0.88, (rng.integers(2, 5), 4, 2))


def drawn(strokes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture of a symbol, uint8 [H, L], ink bright: moved, turned, stretched and shaken a little."""
    turn = np.deg2rad(rng.normal(0, 4))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shaken = strokes + rng.normal(0, 0.02, strokes.shape)
    placed = (shaken - 0.5) @ rotation * rng.normal(1, 0.06, 2) + 0.5 + rng.normal(0, 0.02, 2)
    t = np.linspace(0, 1, 40)[:, None]
    weights = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=-1)
    canvas = Image.new("L", (SIDE * OVERSAMPLING,) * 2)
    pen = ImageDraw.Draw(canvas)
    for points in placed:
        curve = (weights @ points)[:, 0] * SIDE * OVERSAMPLING
        pen.line([tuple(point) for point in curve], fill=255, width=PEN * OVERSAMPLING, joint="curve")
    return np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX))


def pictures(rng: np.random.Generator, symbols: int, each: int, side: int) -> ImageSet:
    """Random symbols as a network of ``side`` pixels sees them."""
    shapes = [symbol(rng) for _ in range(symbols)]
    images = np.stack([drawn(shape, rng) for shape in shapes for _ in range(each)])
    names = tuple(map(str, range(symbols)))
    labels = np.repeat(np.arange(symbols), each)
    return ImageSet(images[:, None], labels=labels, classes=names).reduced(SIDE // side)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learner", type=Path, default=LEARNER)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    for name in range(1, CLASSES + 1):
        shape = symbol(rng)
        for index in range(SHOTS + QUERIES):
            part = "support" if index < SHOTS else "queries"
            image = Image.fromarray(drawn(shape, rng))
            path = BUNDLED / "symbols" / part / f"symbol_{name}" / f"{index}.png"
            write_atomically(path, image.save)
    learner = MetaLearner.load(arguments.learner)
    learner.save(BUNDLED / "symbols_learner.safetensors")
    others = pictures(rng, OTHER_SYMBOLS, OTHER_PICTURES, learner.network.config.height)
    tasks = EpisodeSampler(others, EpisodeShape(CLASSES, SHOTS, QUERIES)).sample(TASKS, (arguments.seed,))
    adapted = [learner.adapt(support, tasks.support_labels)[0] for support in tasks.support]
    images = torch.cat([tasks.support.flatten(0, 1), tasks.query.flatten(0, 1)])
    calibration = Calibration(images, torch.full((len(images),), images.shape[3]))
    quantised = quantise(adapted[0], calibration, adapted=adapted, clip_sigma=True)
    save(BUNDLED / "symbols.safetensors", quantised)


if __name__ == "__main__":
    main()
