"""The engine of either kind of network."""

from collections.abc import Sequence
from typing import Any

from amaranth.lib import data, wiring

from adakern_spec.akm import AkmShape
from adakern_spec.networks import Shape
from adakern_spec.protocol import LINK, Link

from .akm import AkmEngine, akm_result_layout
from .spn import RESULT_LAYOUT, SpnEngine


def result_layout(shape: Shape) -> data.StructLayout:
    """What the engine answers for a map: the fields of a result behind job and parameters, in their order."""
    return akm_result_layout(shape.classes) if isinstance(shape, AkmShape) else RESULT_LAYOUT


def make_engine(
    shape: Shape,
    folds: Sequence[Any],
    multipliers: tuple[Any, ...] | None = None,
    link: Link = LINK,
) -> wiring.Component:
    """Engine with these folds of the shape and multipliers of each; plain ones if not given."""
    if isinstance(shape, AkmShape):
        return AkmEngine(shape, tuple(folds), multipliers)
    return SpnEngine(shape, tuple(folds), multipliers, link)
