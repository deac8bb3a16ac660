"""The exact reference of either kind of network."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..akm_parameters import AkmParameters
from ..parameter_block import Parameters
from ..parameters import SpnParameters
from .akm import AkmReference
from .spn import SpnReference


class Reference(Protocol):
    """A model made ready to run batch after batch."""

    @property
    def parameters(self) -> Parameters:
        """Of the model."""

    def rows(self, maps: Sequence[np.ndarray]) -> list[dict[str, int]]:
        """Answers for ``maps`` [C, H, length], named as in a device's result; not checked here."""


def reference(parameters: Parameters) -> Reference:
    """The reference that computes with ``parameters``."""
    if isinstance(parameters, AkmParameters):
        return AkmReference(parameters)
    assert isinstance(parameters, SpnParameters)
    return SpnReference(parameters)
