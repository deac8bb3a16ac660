"""A device against the reference on random and adversarial maps, every bit."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from adakern_spec.network import SpnShape
from adakern_spec.networks import Shape

from .device.base import Device
from .device.maps import map_dtype
from .localise import Fault, locate
from .parameter_block import Parameters
from .parameters import SpnParameters
from .reference.networks import reference

RANDOM_LENGTH = 160
"""Longest of the random maps; the adversarial ones reach the device's limit."""

EXTREME_SETS = 3
"""Sets of saturating parameters that are tried, beside the model's own."""

Case = tuple[str, np.ndarray]
"""A map [C, H, length] with its name."""

Progress = Callable[[int], None]
"""Called with the number of maps compared so far."""


@dataclass(frozen=True)
class Mismatch:
    """The first map whose answer differs: which it was, both answers by name, and where the fault lies.

    A kernel modulation network's ``fault`` is not looked for: None.
    """

    case: str
    length: int
    expected: Mapping[str, int]
    got: Mapping[str, int]
    fault: Fault | None
    located: bool = True

    def to_json(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "length": self.length,
            "expected": dict(self.expected),
            "got": dict(self.got),
            "fault": None if self.fault is None else self.fault.to_json(),
        }

    def __str__(self) -> str:
        differing = ", ".join(
            f"{name} {self.got[name]} instead of {value}"
            for name, value in self.expected.items()
            if self.got[name] != value
        )
        if not self.located:
            return f"{self.case}: {differing}"
        where = "the fault does not repeat" if self.fault is None else f"first differs at {self.fault}"
        return f"{self.case}: {differing}; {where}"


@dataclass(frozen=True)
class Verification:
    """Outcome: ``maps`` compared, and the first mismatch if there was one."""

    maps: int
    mismatch: Mismatch | None


def adversarial_maps(shape: Shape, rng: np.random.Generator, longest: int) -> Iterator[Case]:
    """Named maps [C, H, length] at the limits: of the values, of their contrast, of the length."""
    dtype = map_dtype(shape)
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    shortest = shape.min_length
    middle = max(shortest, min(2 * max(stage.kernel for stage in shape.stages) + 1, longest))

    def filled(length: int, value: int = 0) -> np.ndarray:
        return np.full((shape.in_channels, shape.height, length), value, dtype)

    def extremes(length: int) -> np.ndarray:
        return rng.choice(np.array([low, high], dtype), (shape.in_channels, shape.height, length))

    yield "all zero", filled(middle)
    yield "all at the highest value", filled(middle, high)
    yield "all at the lowest value", filled(middle, low)
    board = filled(middle, low)
    board[np.indices(board.shape).sum(axis=0) % 2 == 1] = high
    yield "checkerboard of extremes", board
    for name, row, position in (("first", 0, 0), ("last", -1, -1)):
        corner = filled(middle)
        corner[:, row, position] = high
        yield f"only the {name} pixel", corner
    yield "random extremes", extremes(middle)
    yield f"length {shortest}, highest value", filled(shortest, high)
    yield f"length {shortest}, random extremes", extremes(shortest)
    yield f"longest, {longest} positions", extremes(longest)


def random_maps(shape: Shape, rng: np.random.Generator, count: int, longest: int) -> Iterator[Case]:
    """Maps of uniform random values and lengths."""
    limits = np.iinfo(map_dtype(shape))
    for index in range(count):
        size = (
            shape.in_channels,
            shape.height,
            int(
                rng.integers(
                    shape.min_length, max(shape.min_length, min(longest, RANDOM_LENGTH)), endpoint=True
                )
            ),
        )
        yield f"random map {index}", rng.integers(limits.min, limits.max, size, limits.dtype, endpoint=True)


def verify(
    device: Device,
    parameters: Parameters,
    count: int,
    seed: int,
    longest: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compare the answers of ``device`` with the reference's, to the first mismatch.

    ``count`` random maps and the adversarial ones run with ``parameters``, the adversarial ones again
    with `EXTREME_SETS` sets of saturating parameters. ``longest`` bounds the longest map, the
    device's own limit unless given. The device holds ``parameters`` again at the end.
    """
    shape: Any = parameters.shape
    rng = np.random.default_rng(seed)
    limit = shape.max_length if longest is None else min(longest, shape.max_length)
    compared = 0

    def agreed() -> None:
        nonlocal compared
        compared += 1
        if progress is not None:
            progress(compared)

    try:
        cases: Iterator[Case] = chain(
            adversarial_maps(shape, rng, limit), random_maps(shape, rng, count, limit)
        )
        mismatch = _first_mismatch(device, parameters, cases, agreed)
        for number in range(1, EXTREME_SETS + 1):
            if mismatch is None:
                extreme = type(parameters).random(shape, rng, extreme=True)
                adversarial = adversarial_maps(shape, rng, min(limit, RANDOM_LENGTH))
                cases = ((f"saturating weights {number}, {name}", values) for name, values in adversarial)
                mismatch = _first_mismatch(device, extreme, cases, agreed)
    finally:
        device.load(parameters)
    return Verification(compared, mismatch)


def _first_mismatch(
    device: Device, parameters: Parameters, cases: Iterator[Case], agreed: Callable[[], None]
) -> Mismatch | None:
    """The first map of ``cases`` that the device, with ``parameters``, answers wrongly."""
    under_way: deque[Case] = deque()

    def maps() -> Iterator[np.ndarray]:
        for name, values in cases:
            under_way.append((name, values))
            yield values
            if found is not None:
                return

    found: tuple[str, np.ndarray, Mapping[str, int], Mapping[str, int]] | None = None
    right = reference(parameters)
    device.load(parameters)
    for prediction in device.stream(maps()):
        name, values = under_way.popleft()
        (wanted,) = right.rows([values])
        if found is None and prediction.values != wanted:
            found = name, values, wanted, prediction.values
        elif found is None:
            agreed()
    if found is None:
        return None
    name, values, expected, got = found
    located = isinstance(parameters, SpnParameters)
    fault = locate(device, parameters, values) if isinstance(parameters, SpnParameters) else None
    return Mismatch(name, values.shape[2], expected, got, fault, located)


def cases_in_all(count: int) -> int:
    """Maps that `verify` compares if all agree."""
    adversarial = sum(1 for _ in adversarial_maps(SpnShape((1, 1), 1), np.random.default_rng(0), 1))
    return count + (EXTREME_SETS + 1) * adversarial
