"""Readers of two public image sets, from archives that the user has: Omniglot and CIFAR-10."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from adakern_spec.errors import InputError

from .images import ImageSet, ImageShape, decode_images, load_arrays

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def read_omniglot(path: Path, part: Literal["background", "evaluation"]) -> ImageSet:
    """Omniglot characters (Lake et al. 2015), one class each, uint8 [N, 1, H, L], ink bright.

    ``path``: an .npz with an array per part, uint8 [characters, drawers, H, L].
    Raises InputError for another layout.
    """
    array = load_arrays(path, (part,))[part]
    if array.ndim != 4 or array.dtype != np.uint8:
        raise InputError(
            f"{part} of shape {array.shape} and dtype {array.dtype}",
            str(path),
            "give uint8 [characters, drawers, height, length]",
        )
    characters, drawers = array.shape[:2]
    return ImageSet(
        images=array.reshape(-1, 1, *array.shape[2:]),
        names=tuple(f"{part} {c} {d}" for c in range(characters) for d in range(drawers)),
        labels=np.repeat(np.arange(characters), drawers),
        classes=tuple(f"{part} {character}" for character in range(characters)),
    )


def read_cifar10(path: Path, part: Literal["train", "test"], first: int | None = None) -> ImageSet:
    """CIFAR-10 (Krizhevsky 2009) from encoded images, uint8 [N, 3, 32, 32]; the ``first`` so many, or all.

    ``path``: an .npz with, per part, ``_jpeg`` (all files one after another, uint8), ``_offset`` [N + 1]
    and ``_label`` [N]. Files that cannot be read are skipped and listed.
    Raises InputError for another layout.
    """
    content, offsets, labels = load_arrays(
        path, [f"{part}_{name}" for name in ("jpeg", "offset", "label")]
    ).values()
    if len(offsets) != len(labels) + 1 or content.dtype != np.uint8 or int(offsets[-1]) != content.size:
        raise InputError(
            f"{len(labels)} labels, {len(offsets)} offsets, {content.size} bytes of images",
            str(path),
            "give one label per image and one offset more",
        )
    ends = offsets.astype(np.int64)[: len(labels[:first]) + 1]
    encoded = (content[start:end].tobytes() for start, end in pairwise(ends))
    kept, images = decode_images(encoded, ImageShape(3, 32, 32), f"{path}, {part}")
    return replace(images, labels=labels[kept].astype(np.int64), classes=CIFAR10_CLASSES)
