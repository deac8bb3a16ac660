"""AKM layers against plain convolutions on CIFAR-10, clean and under corruptions in the style of CIFAR-10-C.

    python benchmarks/cifar.py --data PATH [--seeds 3] [--epochs N] [--images N] [--out FILE.json]

PATH is an .npz of encoded images (``adakern.data.image_sets.read_cifar10``), or a folder with ``train`` and
``test``, each with one folder per class, as CIFAR-100 or an ImageNet subset is unpacked; ``--side`` is what
their images are scaled to. All variants of a seed start from the same convolution weights and see the same
batches: the plain network, the same with AKM layers, and the plain network with augmentation (mirrored and
shifted by up to 4 pixels) and with dropout before the classifier. The results are written after every
run, and runs that the file has are not made again.
"""

import argparse
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import collect, interval
from torch import Tensor, nn
from torch.nn import functional

from adakern.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from adakern.data.image_sets import read_cifar10
from adakern.data.images import PIXEL_SCALE, ImageSet, ImageShape, read_images
from adakern.models import AkmNetwork, AkmNetworkConfig
from adakern.training.episodes import shifted
from adakern_spec.errors import InputError

CHANNELS = (3, 16, 32, 64, 96)
BATCH = 100
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-3
DROPOUT = 0.3
SHIFT = 4


@dataclass(frozen=True)
class Variant:
    name: str
    modulated: bool = False
    augmented: bool = False
    dropout: float = 0.0


VARIANTS = (
    Variant("plain"),
    Variant("AKM", modulated=True),
    Variant("plain + augmentation", augmented=True),
    Variant("plain + dropout", dropout=DROPOUT),
)


def read(path: Path, side: int, images: int | None) -> tuple[ImageSet, ImageSet]:
    """Training and test set; the first ``images`` of an archive's training part, all if None.

    Raises InputError where the classes differ or less than a batch is there to train on.
    """
    if path.is_file():
        sets = read_cifar10(path, "train", images), read_cifar10(path, "test")
    else:
        shape = ImageShape(3, side, side)
        sets = (
            read_images(path / "train", shape, labelled=True),
            read_images(path / "test", shape, labelled=True),
        )
    for line in (message for one in sets for message in one.messages()):
        print(line)
    training, test = sets
    if training.classes != test.classes:
        only = sorted(set(training.classes) ^ set(test.classes))
        raise InputError(f"classes in one of train and test alone: {', '.join(only)}", str(path), "give both")
    if len(training.images) < BATCH:
        raise InputError(f"{len(training.images)} training images", str(path), f"give {BATCH} or more")
    return training, test


def network(modulated: bool, classes: int, side: int, seed: int) -> AkmNetwork:
    """The same convolution and classifier weights for both kinds."""
    torch.manual_seed(seed)
    config = AkmNetworkConfig(
        channels=CHANNELS,
        height=side,
        length=side,
        downsample=("stride2", "stride2", "stride2", "none"),
        classes=classes,
        modulated=modulated,
        max_radius=3,
    )
    return AkmNetwork(config)


def augment(images: Tensor) -> Tensor:
    """Mirrored with probability one half, and shifted."""
    mirrored = torch.where((torch.rand(len(images)) < 0.5)[:, None, None, None], images.flip(3), images)
    return shifted(mirrored, torch.randint(-SHIFT, SHIFT + 1, (2, len(images))))


def normalised(images: Tensor) -> Tensor:
    return (images.float() * PIXEL_SCALE - 0.5) * 4


def train(variant: Variant, images: ImageSet, seed: int, epochs: int) -> AkmNetwork:
    """AdamW with a cosine to zero."""
    model = network(variant.modulated, len(images.classes), images.images.shape[3], seed)
    pixels, labels = torch.from_numpy(images.images), torch.from_numpy(images.labels)
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = len(labels) // BATCH * epochs
    step = 0
    for epoch in range(epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(labels))
        for start in range(0, len(labels) - BATCH + 1, BATCH):
            for group in optimiser.param_groups:
                warm = min(1.0, (step + 1) / 50)
                group["lr"] = LEARNING_RATE * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
            chosen = torch.from_numpy(order[start : start + BATCH])
            batch = augment(pixels[chosen]) if variant.augmented else pixels[chosen]
            features = functional.dropout(model.features(normalised(batch)), variant.dropout)
            loss = functional.cross_entropy(model.classifier(features), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
    return model.eval()


@torch.no_grad()
def accuracy(model: AkmNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    pixels = torch.from_numpy(images)
    answers = [model(normalised(batch)).argmax(dim=1) for batch in pixels.split(500)]
    return float((torch.cat(answers).numpy() == labels).mean())


def row(
    variant: Variant, seed: int, epochs: int, training: ImageSet, test: ImageSet, corrupted: int
) -> dict[str, Any]:
    """Train and measure one network."""
    started = time.process_time()
    model = train(variant, training, seed, epochs)
    seconds = time.process_time() - started
    chosen = np.random.default_rng(0).permutation(len(test.labels))[:corrupted]
    images, labels = test.images[chosen], test.labels[chosen]
    return {
        "parameters": model.parameter_count(),
        "cpu_seconds": round(seconds, 1),
        "clean": accuracy(model, test.images, test.labels),
        "corrupted": {
            name: [accuracy(model, corrupt(images, name, severity), labels) for severity in SEVERITIES]
            for name in CORRUPTIONS
        },
        "sigma": [float(conv.r.detach().abs().mean()) for conv in model.convs] if variant.modulated else [],
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds of each variant: clean, each corruption over its severities, all corruptions."""
    found: dict[str, Any] = {}
    for variant in dict.fromkeys(one["variant"] for one in rows):
        own = [one for one in rows if one["variant"] == variant]
        each = {name: [float(np.mean(one["corrupted"][name])) for one in own] for name in CORRUPTIONS}
        found[variant] = {
            "clean": interval([one["clean"] for one in own]),
            "corrupted": interval([float(np.mean(values)) for values in zip(*each.values(), strict=True)]),
            "each": {name: interval(values) for name, values in each.items()},
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help=".npz, or a folder with train and test")
    parser.add_argument("--side", type=int, default=32, help="of a folder's images")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--images", type=int, default=50_000, help="of the .npz to train on, from the first")
    parser.add_argument("--corrupted", type=int, default=1000, help="test images to corrupt")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cifar.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    training, test = read(arguments.data, arguments.side, arguments.images)
    shown = "".join(
        f" --{name} {value}" for name in ("epochs", "images") if (value := getattr(arguments, name))
    )
    settings = {
        "command": f"python benchmarks/cifar.py --data PATH --seeds {arguments.seeds}{shown}",
        "epochs": arguments.epochs,
        "images": {
            "training": len(training.images),
            "test": len(test.images),
            "corrupted": arguments.corrupted,
        },
        "channels": list(CHANNELS),
    }
    wanted = (
        (
            {"variant": variant.name, "seed": seed},
            partial(row, variant, seed, arguments.epochs, training, test, arguments.corrupted),
        )
        for seed in range(arguments.seeds)
        for variant in VARIANTS
    )
    collect(arguments.out, settings, wanted, summary)


if __name__ == "__main__":
    main()
