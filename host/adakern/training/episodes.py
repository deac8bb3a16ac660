"""Few-shot episodes: N classes, K examples of each to adapt to, Q of each to measure on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adakern.data.images import PIXEL_SCALE, ImageSet
from adakern_spec.errors import InputError


@dataclass(frozen=True)
class EpisodeShape:
    """N-way K-shot: ``ways`` classes, ``shots`` support and ``queries`` query images of each."""

    ways: int = 5
    shots: int = 1
    queries: int = 5

    def __post_init__(self) -> None:
        for name, least in (("ways", 2), ("shots", 1), ("queries", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} {getattr(self, name)}", "episodes", f"use {least} or more")


@dataclass(frozen=True)
class Episodes:
    """A batch of T episodes of one shape.

    ``support`` [T, ways · shots, C, H, L] and ``query`` [T, ways · queries, C, H, L], values in [0, 1); the
    labels [ways · shots] and [ways · queries] are the same in all of them, class by class.
    """

    support: Tensor
    query: Tensor
    support_labels: Tensor
    query_labels: Tensor


class EpisodeSampler:
    """Draws episodes from a labelled image set.

    With ``shift`` every image drawn is moved by up to so many pixels in both directions, at random; the
    pixels that come in repeat the edge's.
    Raises InputError for a set with fewer classes than ``ways``, or with a class that has fewer than
    ``shots + queries`` images; the message names it, and the set as ``what`` and by
    its path.
    """

    def __init__(
        self, images: ImageSet, shape: EpisodeShape, shift: int = 0, what: str = "image set"
    ) -> None:
        members = images.members()
        where = f"{what} ({images.source})" if images.source else what
        if len(members) < shape.ways:
            raise InputError(f"{len(members)} classes for {shape.ways} ways", where, "add classes")
        needed = shape.shots + shape.queries
        for name, indices in zip(images.classes, members, strict=True):
            if len(indices) < needed:
                raise InputError(
                    f"class {name!r} has {len(indices)} images, {shape.shots} shots and {shape.queries} "
                    f"queries need {needed}",
                    where,
                    "add images to it, remove it, or use fewer shots or queries",
                )
        self.shape, self.shift = shape, shift
        self._images = torch.from_numpy(images.images)
        self._members = members

    def sample(self, episodes: int, seed: Sequence[int]) -> Episodes:
        """The same ``seed`` (integers) gives the same episodes; classes are drawn without repetition."""
        rng = np.random.default_rng(seed)
        shape = self.shape
        per_class = shape.shots + shape.queries
        chosen = np.empty((episodes, shape.ways, per_class), np.int64)
        for episode in chosen:
            for row, number in zip(
                episode, rng.choice(len(self._members), shape.ways, replace=False), strict=True
            ):
                row[:] = rng.choice(self._members[number], per_class, replace=False)
        images = self._images[torch.from_numpy(chosen)].float() * PIXEL_SCALE
        if self.shift:
            moves = torch.from_numpy(rng.integers(-self.shift, self.shift + 1, (2, chosen.size)))
            images = shifted(images.flatten(0, 2), moves).view_as(images)
        classes = torch.arange(shape.ways)
        return Episodes(
            support=images[:, :, : shape.shots].flatten(1, 2),
            query=images[:, :, shape.shots :].flatten(1, 2),
            support_labels=classes.repeat_interleave(shape.shots),
            query_labels=classes.repeat_interleave(shape.queries),
        )


def shifted(images: Tensor, moves: Tensor) -> Tensor:
    """Images [N, C, H, L] moved down and right by ``moves`` [2, N] pixels, edges repeated."""
    height, length = images.shape[2:]
    rows = (torch.arange(height) - moves[0, :, None]).clamp(0, height - 1)
    columns = (torch.arange(length) - moves[1, :, None]).clamp(0, length - 1)
    numbers = torch.arange(len(images))[:, None, None]
    # Indices on both sides of the channels put the channels last.
    return images[numbers, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def as_inputs(images: ImageSet) -> Tensor:
    """All images as a network takes them, float [N, C, H, L] in [0, 1)."""
    return torch.from_numpy(images.images).float() * PIXEL_SCALE
