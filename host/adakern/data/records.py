"""One sequence with what is known about it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .structure import loop_types


@dataclass(frozen=True)
class SequenceRecord:
    """A sequence and, where known, its secondary structure and targets.

    ``sequence``: letters of an alphabet. ``structure``: dot-bracket, ``loop``: loop types
    (SMIBHEX), each as long as the sequence or None. ``targets``: float32 [positions, columns] for
    regression per position (the first positions of the sequence; NaN where nothing was measured),
    [columns] for regression per sequence, [1] with the class index for classification, or None.
    ``errors``: standard errors of the targets, of their shape, or None.
    """

    id: str
    sequence: str
    structure: str | None = None
    loop: str | None = None
    targets: NDArray[np.float32] | None = None
    errors: NDArray[np.float32] | None = None

    def truncated(self, length: int) -> "SequenceRecord":
        """The first ``length`` positions; loop types are those that they have in the whole sequence."""
        if len(self.sequence) <= length:
            return self
        loop = loop_types(self.structure) if self.structure and not self.loop else self.loop
        return replace(
            self,
            sequence=self.sequence[:length],
            structure=self.structure and self.structure[:length],
            loop=loop and loop[:length],
            targets=_first_positions(self.targets, length),
            errors=_first_positions(self.errors, length),
        )


def _first_positions(values: NDArray[np.float32] | None, length: int) -> NDArray[np.float32] | None:
    return values[:length] if values is not None and values.ndim == 2 else values
