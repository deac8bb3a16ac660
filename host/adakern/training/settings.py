"""What a training run is told, beside the encoder's configuration and the data."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from adakern.models.spn import Penalty
from adakern_spec.errors import InputError


def check_ranges(settings: object, where: str, positive: Iterable[str], others: Iterable[str] = ()) -> None:
    """InputError where a field in ``positive`` is not, one in ``others`` is negative, or either infinite."""
    for name in positive:
        if not 0 < getattr(settings, name) < math.inf:
            raise InputError(f"{name} {getattr(settings, name)}", where, "use a positive value")
    for name in others:
        if not 0 <= getattr(settings, name) < math.inf:
            raise InputError(f"{name} {getattr(settings, name)}", where, "use zero or more")


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one run; JSON-serialisable.

    AdamW with a warm-up over the first tenth of the steps and a cosine to zero. The SPN learns at
    ``spn_rate_factor`` times the rate: its scale head amplifies a step of the convs, and at the full
    rate its last ReLU closes for good. ``spn_penalty`` ("l1" or "l2") times
    ``spn_penalty_weight`` is added to the loss. ``clip`` bounds the gradient's norm.
    """

    epochs: int = 40
    seed: int = 0
    batch_size: int = 32
    learning_rate: float = 1e-2
    spn_rate_factor: float = 0.05
    weight_decay: float = 1e-2
    spn_penalty: Penalty = "l2"
    spn_penalty_weight: float = 1e-4
    clip: float = 1.0

    def __post_init__(self) -> None:
        positive = ("epochs", "batch_size", "learning_rate", "clip")
        others = ("seed", "spn_rate_factor", "weight_decay", "spn_penalty_weight")
        check_ranges(self, "training settings", positive, others)
        if self.spn_penalty not in ("l1", "l2"):
            raise InputError(f"penalty {self.spn_penalty!r}", "training settings", 'use "l1" or "l2"')

    def to_json(self) -> dict[str, Any]:
        """Plain values, as json.dumps takes them."""
        return asdict(self)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step, from the step alone, so that a resumed run follows the same curve."""
        progress = (step + 0.5) / steps
        if progress < _WARM_UP:
            return self.learning_rate * progress / _WARM_UP
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


_WARM_UP = 0.1
