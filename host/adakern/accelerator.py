"""Sequences in, kernel sizes out: the encoder on the host, its scale prediction network on a device."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adakern_spec.errors import AdakernError
from adakern_spec.numbers import KERNEL, SCALE

from .artifact import Artifact
from .data import SequenceRecord, alphabet_named, collate
from .device.base import Device, Progress
from .device.predictions import Prediction, Predictions
from .parameters import SpnParameters

if TYPE_CHECKING:
    from .models import AdaptiveEncoder

CHUNK_RECORDS = 32
CHUNK_POSITIONS = 8192
"""A chunk ends at whichever comes first, so that memory does not grow with records or their lengths."""


@dataclass(frozen=True)
class Iteration:
    """What the device answered in one iteration of the encoding loop, height first.

    ``scales`` and ``kernels`` are real numbers; ``float_scales`` the float model's in the same iteration.
    """

    scales: tuple[float, float]
    kernels: tuple[float, float]
    cycles: int
    float_scales: tuple[float, float]

    @property
    def difference(self) -> float:
        """Largest magnitude by which a scale is off the float model's."""
        return max(abs(scale - exact) for scale, exact in zip(self.scales, self.float_scales, strict=True))

    def to_json(self) -> dict[str, Any]:
        return {
            "scale_height": self.scales[0],
            "scale_length": self.scales[1],
            "kernel_height": self.kernels[0],
            "kernel_length": self.kernels[1],
            "cycles": self.cycles,
            "float_scale_height": self.float_scales[0],
            "float_scale_length": self.float_scales[1],
            "difference": self.difference,
        }


@dataclass(frozen=True, eq=False)
class Answer:
    """Everything about one record.

    ``activation`` is the last iteration's map [C, H, length] as the float encoder around the device
    computed it; ``output`` the encoder's own answer: [length, columns] or [columns].
    """

    id: str
    length: int
    iterations: tuple[Iteration, ...]
    activation: np.ndarray
    output: np.ndarray

    @property
    def last(self) -> Iteration:
        return self.iterations[-1]

    def to_json(self, output: bool = False) -> dict[str, Any]:
        """The last iteration's figures at the top level, all below ``iterations``; ``output`` on request."""
        iterations = [iteration.to_json() for iteration in self.iterations]
        row = {"id": self.id, "length": self.length, **iterations[-1], "iterations": iterations}
        return row | {"output": self.output.tolist()} if output else row


class _Recorder(Device):
    """A device that keeps what it answered: one entry per batch."""

    def __init__(self, device: Device) -> None:
        super().__init__(device.shape)
        self.url = device.url
        self.answers: list[Predictions] = []
        self._device = device

    def load(self, parameters: SpnParameters) -> None:
        self._device.load(parameters)

    def stream(self, maps: Iterable[np.ndarray]) -> Iterator[Prediction]:
        return self._device.stream(maps)

    def predict(self, maps: np.ndarray, lengths: np.ndarray, progress: Progress | None = None) -> Predictions:
        answers = self._device.predict(maps, lengths, progress)
        self.answers.append(answers)
        return answers

    def close(self) -> None:
        """Nothing: the device belongs to whoever opened it."""


class Accelerator:
    """An artifact's encoder whose scale prediction network is ``device``. Needs torch.

    ``device`` must hold the artifact's parameters, and the artifact an encoder.
    """

    def __init__(self, artifact: Artifact, device: Device) -> None:
        self._float, self._mixed = _encoder(artifact), _encoder(artifact)
        self._recorder = _Recorder(device)
        self._mixed.spn = self._recorder.as_module(artifact.input_format.frac)
        self._alphabet = alphabet_named(self._float.config.alphabet)

    def predict(self, records: Iterable[SequenceRecord]) -> Iterator[Answer]:
        """Answers in order, a chunk of records at a time.

        Records ahead of one that cannot be read are answered before its error is raised.
        """
        for chunk in _chunks(records):
            yield from self._answer(chunk)

    def _answer(self, records: list[SequenceRecord]) -> Iterator[Answer]:
        import torch

        from .models import predict

        arrays, array_lengths = collate(records, self._alphabet)
        maps, lengths = torch.from_numpy(arrays), torch.from_numpy(array_lengths)
        self._recorder.answers.clear()
        outputs, trace = predict(self._mixed, maps, lengths)
        _, float_trace = predict(self._float, maps, lengths)
        for index, record in enumerate(records):
            length = len(record.sequence)
            iterations = tuple(
                Iteration(
                    scales=_pair(answers.scales[index] * 2.0**-SCALE.frac),
                    kernels=_pair(answers.kernels[index] * 2.0**-KERNEL.frac),
                    cycles=int(answers.cycles[index]),
                    float_scales=_pair(exact[index].numpy()),
                )
                for answers, exact in zip(self._recorder.answers, float_trace.scales, strict=True)
            )
            output = outputs[index].numpy()
            yield Answer(
                id=record.id,
                length=length,
                iterations=iterations,
                activation=trace.maps[-1][index, :, :, :length].numpy(),
                output=output[:length] if output.ndim == 2 else output,
            )


def _encoder(artifact: Artifact) -> "AdaptiveEncoder":
    from .models import AdaptiveEncoder
    from .models.restore import float_model

    encoder = float_model(artifact)
    assert isinstance(encoder, AdaptiveEncoder)
    return encoder


def _pair(values: np.ndarray) -> tuple[float, float]:
    height, length = values.tolist()
    return height, length


def _chunks(records: Iterable[SequenceRecord]) -> Iterator[list[SequenceRecord]]:
    """Records in order, `CHUNK_RECORDS` or `CHUNK_POSITIONS` padded positions at a time, at least one."""
    chunk: list[SequenceRecord] = []
    longest = 0
    try:
        for record in records:
            longest = max(longest, len(record.sequence))
            if chunk and (len(chunk) == CHUNK_RECORDS or longest * (len(chunk) + 1) > CHUNK_POSITIONS):
                yield chunk
                chunk, longest = [], len(record.sequence)
            chunk.append(record)
    except AdakernError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk
