"""Adaptive encoder: an iterative sequence encoder whose pooling kernel follows its own activations."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple, get_args, get_origin

import torch
from torch import Tensor, nn
from torch.nn import functional

from adakern_spec.errors import ShapeError

from .heads import SequenceHead
from .masking import length_mask
from .pooling import AdaptiveAnisotropicPool, PoolMode
from .spn import ScalePredictionNetwork

Task = Literal["classification", "regression", "position-regression"]

TASKS: tuple[Task, ...] = ("classification", "regression", "position-regression")


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that fixes an encoder's shape; JSON-serialisable.

    ``height`` rows of the map, ``channels`` of every activation map (also the SPN's input),
    ``iterations`` of the loop, ``kernel`` of its convs; ``spn_channels`` are those inside the SPN,
    input first. ``base_height``, ``base_length``, ``k_min``, ``k_max`` and ``pool_mode`` belong to the
    pool. ``outputs`` is the number of classes or of target columns, ``output_names`` what they are
    called, where they have names. ``alphabet`` names the letters of the sequences (``adakern.data``).
    With ``adaptive`` false the kernels stay at their base sizes and there is no SPN.
    """

    height: int = 14
    channels: int = 8
    iterations: int = 2
    kernel: int = 3
    spn_channels: tuple[int, ...] = (8, 8, 8, 2)
    shared_scale: bool = False
    base_height: int = 3
    base_length: int = 7
    k_min: float = 1.0
    k_max: float = 15.0
    pool_mode: PoolMode = "avg"
    task: Task = "position-regression"
    outputs: int = 1
    output_names: tuple[str, ...] = ()
    alphabet: str = "rna"
    head_width: int = 32
    head_dilations: tuple[int, ...] = (1, 4)
    dropout: float = 0.0
    adaptive: bool = True

    def __post_init__(self) -> None:
        where = "encoder configuration"
        for field in fields(self):
            if not _is_of(getattr(self, field.name), field.type):
                raise ShapeError(
                    f"{field.name} {getattr(self, field.name)!r}",
                    where,
                    f"give the like of {field.default!r}",
                )
        if self.task not in TASKS:
            raise ShapeError(f"task {self.task!r}", where, f"use one of {', '.join(TASKS)}")
        smallest = 2 if self.task == "classification" else 1
        if self.outputs < smallest:
            raise ShapeError(f"{self.outputs} outputs for {self.task}", where, f"use at least {smallest}")
        if self.output_names and len(self.output_names) != self.outputs:
            raise ShapeError(
                f"{len(self.output_names)} names for {self.outputs} outputs", where, "name each one"
            )
        for name in ("height", "channels", "iterations", "head_width"):
            if getattr(self, name) < 1:
                raise ShapeError(f"{name} {getattr(self, name)}", where, "use at least 1")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ShapeError(f"kernel {self.kernel}", where, "use an odd size")
        if min(self.head_dilations, default=1) < 1:
            raise ShapeError(f"head dilations {self.head_dilations}", where, "use 1 or more each")
        if not 0 <= self.dropout < 1:
            raise ShapeError(f"dropout {self.dropout}", where, "use 0 or more, less than 1")
        if self.adaptive and self.spn_channels[:1] != (self.channels,):
            raise ShapeError(
                f"SPN of channels {self.spn_channels} behind {self.channels} channels",
                where,
                "let its first equal them",
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values, as json.dumps takes them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "EncoderConfig":
        """Configuration of ``to_json``'s values; ShapeError names an unknown field."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ShapeError(f"unknown field {unknown[0]!r}", "encoder configuration", f"use {sorted(known)}")
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)


def _is_of(value: object, kind: Any) -> bool:
    """Whether a value, perhaps from JSON, is of a field's type."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is_of(item, get_args(kind)[0]) for item in value)
    return type(value) is kind or (kind is float and type(value) is int)


class EncoderTrace(NamedTuple):
    """What the SPN saw and said: one entry per iteration."""

    maps: tuple[Tensor, ...]
    """Activation maps [B, C, H, L], zero at positions ≥ length."""
    scales: tuple[Tensor, ...]
    """Scales [B, 2]: height, length."""


class FixedScales(nn.Module):
    """Stands where the SPN does and always answers 1: the encoder with fixed kernels."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return x.new_ones(x.shape[0], 2)


class AdaptiveEncoder(nn.Module):
    """Lift conv → n × (conv → SPN → pool with the predicted kernel → back into the conv) → head.

    ``forward(maps, lengths)``: maps [B, 1, H, L] float, lengths [B] integers in 1..L. Returns
    [B, L, outputs] for position regression (zero at positions ≥ length), else [B, outputs]
    (logits for classification). ``return_trace=True`` returns (outputs, EncoderTrace).

    The weights of conv and SPN are shared between iterations, and each iteration adds the pooled map to
    the lifted one, so that pooling widens the context without blurring the sequence itself.
    ``spn`` may be replaced by any module with the call ``spn(x, lengths) -> [B, 2]``: that is where a
    device goes in. Every activation map is the output of a ReLU. The answer does not depend on the padding.
    Raises ShapeError for a map of another height.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        padding = config.kernel // 2
        self.lift = nn.Conv2d(1, config.channels, config.kernel, padding=padding)
        self.conv = nn.Conv2d(config.channels, config.channels, config.kernel, padding=padding)
        self.spn: nn.Module = (
            ScalePredictionNetwork(config.spn_channels, config.kernel, config.shared_scale)
            if config.adaptive
            else FixedScales()
        )
        self.pool = AdaptiveAnisotropicPool(
            config.base_height, config.base_length, config.k_min, config.k_max, config.pool_mode
        )
        self.head = SequenceHead(
            config.channels * config.height,
            config.head_width,
            config.outputs,
            config.head_dilations,
            config.task == "position-regression",
            config.dropout,
        )

    def forward(
        self, maps: Tensor, lengths: Tensor, return_trace: bool = False
    ) -> Tensor | tuple[Tensor, EncoderTrace]:
        if maps.ndim != 4 or maps.shape[1:3] != (1, self.config.height):
            raise ShapeError(
                f"map of shape {tuple(maps.shape)}", "encoder", f"use [B, 1, {self.config.height}, L]"
            )
        mask = length_mask(lengths, maps.shape[3], maps.dtype)
        lifted = functional.relu(self.lift(maps * mask)) * mask
        state = lifted
        seen, said = [], []
        for _ in range(self.config.iterations):
            activation = functional.relu(self.conv(state)) * mask
            scales = self.spn(activation, lengths)
            state = lifted + self.pool(activation, scales, lengths)
            seen.append(activation)
            said.append(scales)
        answer: Tensor = self.head(state.flatten(1, 2), lengths)
        if return_trace:
            return answer, EncoderTrace(tuple(seen), tuple(said))
        return answer

    def parameter_count(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self.parameters())


def predict(encoder: AdaptiveEncoder, maps: Tensor, lengths: Tensor) -> tuple[Tensor, EncoderTrace]:
    """Outputs and trace without gradients, in evaluation mode; the mode is restored afterwards."""
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            answer, trace = encoder(maps, lengths, return_trace=True)
    finally:
        encoder.train(training)
    return answer, trace
