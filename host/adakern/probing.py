"""Questions to a device: parameters that let one thing through, loaded and asked."""

from dataclasses import dataclass, replace

import numpy as np

from adakern_spec.network import ConvShape
from adakern_spec.numbers import SCALE, SCALE_MIN

from .device.base import Device
from .parameters import SpnParameters
from .reference.scale import global_average
from .reference.spn import run_spn

Scales = tuple[int, int]
Answer = tuple[Scales, tuple[int, int]]
"""Scales and kernel sizes of one map."""


@dataclass(frozen=True)
class Stage:
    """Arrays of one conv stage, writable, all zero at first."""

    weights: np.ndarray
    bias: np.ndarray
    shift: np.ndarray

    @classmethod
    def silent(cls, shape: ConvShape) -> "Stage":
        channels = np.zeros(shape.out_channels, np.int64)
        kernel = (shape.out_channels, shape.in_channels, shape.kernel, shape.kernel)
        return cls(np.zeros(kernel, np.int64), channels, channels.copy())

    @classmethod
    def of(cls, parameters: SpnParameters, index: int) -> "Stage":
        fields = (parameters.weights, parameters.biases, parameters.shifts)
        return cls(*(field[index].copy() for field in fields))

    def pass_on(self, source: int, target: int, weight_bits: int) -> None:
        """Make output ``target`` equal input ``source``: rs(2^s · x, s) = x."""
        self.silence(target)
        self.shift[target] = weight_bits - 2
        self.centre(source, target, 1 << (weight_bits - 2))

    def silence(self, target: int) -> None:
        """Make output ``target`` zero."""
        self.weights[target] = self.bias[target] = self.shift[target] = 0

    def centre(self, source: int, target: int, weight: int) -> None:
        middle = self.weights.shape[2] // 2
        self.weights[target, source, middle, middle] = weight


def answer_of(device: Device, values: np.ndarray) -> Answer:
    """The device's answer for one map [C, H, length]."""
    (prediction,) = device.stream([values])
    return prediction.scales, prediction.kernels


def expected_answer(parameters: SpnParameters, values: np.ndarray) -> Answer:
    """The reference's answer for one map [C, H, length]."""
    result = run_spn(parameters, values[None], np.array([values.shape[2]]))
    (height, length), (kernel_height, kernel_length) = result.scales[0].tolist(), result.kernels[0].tolist()
    return (height, length), (kernel_height, kernel_length)


Stages = dict[int, Stage]
"""Stages by index."""


class Prober:
    """Asks the device with parameters made for one question at a time."""

    def __init__(self, device: Device, parameters: SpnParameters) -> None:
        self.device = device
        self.parameters = parameters
        self.shape = parameters.shape

    def differs(self, stages: Stages, output: int, values: np.ndarray) -> bool:
        """Whether the means of output channel ``output`` differ between device and reference."""
        got, expected = self.means(stages, output, values)
        return got != expected

    def means(self, stages: Stages, output: int, values: np.ndarray) -> tuple[Scales, Scales]:
        """Mean of output channel ``output`` as the scales that show it: the device's, the reference's."""
        parameters = self._readout(stages, output, values)
        self.device.load(parameters)
        return answer_of(self.device, values)[0], expected_answer(parameters, values)[0]

    def _readout(self, stages: Stages, output: int, values: np.ndarray) -> SpnParameters:
        """``stages`` with a head that shows the mean of ``output`` without scaling it, where it fits.

        A mean has 16 bits, a scale lies in [0.5, 2] of UQ2.14: the offset is chosen so that the expected
        mean lies inside.
        """
        size = np.zeros(self.shape.outputs, np.int64)
        parameters = replace(
            self.parameters,
            weights=tuple(stages[index].weights for index in sorted(stages)),
            biases=tuple(stages[index].bias for index in sorted(stages)),
            shifts=tuple(stages[index].shift for index in sorted(stages)),
            gain=size,
            gain_shift=size,
            offset=size,
        )
        length = np.array([values.shape[2]])
        last = run_spn(parameters, values[None], length, trace=True).stages[-1]
        sums = last.sum(axis=(2, 3), dtype=np.int64)
        mean = int(global_average(sums, self.shape.height, length)[0, output])
        low, middle = SCALE_MIN, SCALE.quantise(1.25)
        if mean + low <= middle:
            gain, shift, offset = 1, 0, low
        elif mean + middle <= SCALE.max:
            gain, shift, offset = -1, 0, mean + middle
        else:
            gain, shift, offset = 1, 1, 0
        chosen = np.arange(self.shape.outputs) == output
        return replace(parameters, gain=chosen * gain, gain_shift=chosen * shift, offset=chosen * offset)

    def original(self, first: int, last: int) -> Stages:
        """The model's own stages ``first`` to ``last`` (not included)."""
        return {index: Stage.of(self.parameters, index) for index in range(first, last)}

    def hops(self, stage: int) -> range:
        """Channels of the next stage that one of ``stage`` can be passed on through."""
        behind = self.shape.stages[stage + 1 :]
        return range(behind[0].out_channels if behind else 1)

    def following(self, stage: int, channel: int, hop: int = 0) -> tuple[Stages, int]:
        """Stages after ``stage`` that pass ``channel`` on alone, and the output that it arrives at.

        It leaves the next stage as channel ``hop``, those after it as channel 0.
        """
        stages = {}
        for index in range(stage + 1, len(self.shape.stages)):
            stages[index] = Stage.silent(self.shape.stages[index])
            stages[index].pass_on(channel, hop, self.shape.weight_bits)
            channel, hop = hop, 0
        return stages, channel

    def preceding(self, stage: int) -> Stages:
        """Stages before ``stage`` that pass a map on unchanged, as many of its channels as there are."""
        stages = {}
        for index, shape in enumerate(self.shape.stages[:stage]):
            stages[index] = Stage.silent(shape)
            for channel in range(min(shape.in_channels, shape.out_channels)):
                stages[index].pass_on(channel, channel, self.shape.weight_bits)
        return stages


def contribution(weights: np.ndarray, values: np.ndarray, row: int, position: int) -> int:
    """What one input channel [H, length] adds to the sum at a pixel through its ``weights`` [K, K]."""
    radius = len(weights) // 2
    padded = np.pad(values.astype(np.int64), radius)
    window = padded[row : row + len(weights), position : position + len(weights)]
    return int((weights * window).sum())
