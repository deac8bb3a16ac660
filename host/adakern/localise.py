"""Where a device first leaves the reference: stage, pixel and channel, found through its answers alone.

A device shows two scales per map and nothing inside, on a board as in simulation. But its
parameters can be loaded, and so it is asked with parameters that let one thing through:

- Stage and channel: the stages after the one in question pass a single channel on unchanged, and the
  head shows that channel's mean unscaled. A later stage may err even then. So first each stage in turn
  makes the same constant: the answers change at the stage that adds an error of its own. And a channel
  is blamed only if it errs through every channel of the next stage.
- Pixel: the stages before pass the reference's activations on unchanged; one input channel becomes a
  mask, and the next stage closes every pixel whose mask is zero. Opening the pixels in the order of
  the stream, the first that makes the answers differ is the one.

A mean of N pixels hides what changes their sum by less than N / 2^8, so the map is first cut to the
shortest that still shows the fault. No stage follows the last, so nothing can mask its output: there
the first *input* pixel whose presence matters is found, at most ``radius`` away from the faulty output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adakern_spec.network import ConvShape
from adakern_spec.numbers import SCALE, SCALE_MIN

from .device.base import Device
from .parameters import SpnParameters
from .reference.scale import global_average
from .reference.spn import run_spn

SCALE_HEAD = "scale head"
KERNEL_SIZE = "kernel size"

Scales = tuple[int, int]
Answer = tuple[Scales, tuple[int, int]]
"""Scales and kernel sizes of one map."""

_CONSTANT = 0x55
"""An activation with ones and zeros in turn."""


@dataclass(frozen=True)
class Fault:
    """Where device and reference first differ.

    ``stage`` is "conv stage 0" and so on, or what follows the stages; ``row`` and ``position`` are of
    the stage's output if ``exact``, else of the input pixel that reveals the fault. What cannot be told
    is None.
    """

    stage: str
    channel: int | None = None
    row: int | None = None
    position: int | None = None
    exact: bool = True

    def __str__(self) -> str:
        named = (("channel", self.channel), ("row", self.row), ("position", self.position))
        place = ", ".join([self.stage, *(f"{name} {value}" for name, value in named if value is not None)])
        return place if self.exact else f"{place} (of the stage's input; its output is not visible by pixel)"

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "pixel": None if self.position is None else [self.row, self.position],
            "channel": self.channel,
            "exact": self.exact,
        }


@dataclass(frozen=True)
class _Stage:
    """Arrays of one conv stage, writable, all zero at first."""

    weights: np.ndarray
    bias: np.ndarray
    shift: np.ndarray

    @classmethod
    def silent(cls, shape: ConvShape) -> "_Stage":
        channels = np.zeros(shape.out_channels, np.int64)
        kernel = (shape.out_channels, shape.in_channels, shape.kernel, shape.kernel)
        return cls(np.zeros(kernel, np.int64), channels, channels.copy())

    @classmethod
    def of(cls, parameters: SpnParameters, index: int) -> "_Stage":
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


class _Prober:
    """Asks the device with parameters made for one question at a time."""

    def __init__(self, device: Device, parameters: SpnParameters) -> None:
        self.device = device
        self.parameters = parameters
        self.shape = parameters.shape

    def differs(self, stages: Sequence[_Stage], output: int, values: np.ndarray) -> bool:
        """Whether the means of output channel ``output`` differ between device and reference."""
        got, expected = self.means(stages, output, values)
        return got != expected

    def means(self, stages: Sequence[_Stage], output: int, values: np.ndarray) -> tuple[Scales, Scales]:
        """Mean of output channel ``output`` as the scales that show it: the device's, the reference's."""
        parameters = self._readout(stages, output, values)
        self.device.load(parameters)
        return answer_of(self.device, values)[0], expected_answer(parameters, values)[0]

    def _readout(self, stages: Sequence[_Stage], output: int, values: np.ndarray) -> SpnParameters:
        """``stages`` with a head that shows the mean of ``output`` without scaling it, where it fits.

        A mean has 16 bits, a scale lies in [0.5, 2] of UQ2.14: the offset is chosen so that the expected
        mean lies inside.
        """
        size = np.zeros(self.shape.outputs, np.int64)
        parameters = replace(
            self.parameters,
            weights=tuple(stage.weights for stage in stages),
            biases=tuple(stage.bias for stage in stages),
            shifts=tuple(stage.shift for stage in stages),
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

    def original(self, first: int, last: int) -> dict[int, _Stage]:
        """The model's own stages ``first`` to ``last`` (not included)."""
        return {index: _Stage.of(self.parameters, index) for index in range(first, last)}

    def hops(self, stage: int) -> range:
        """Channels of the next stage that one of ``stage`` can be passed on through."""
        behind = self.shape.stages[stage + 1 :]
        return range(behind[0].out_channels if behind else 1)

    def following(self, stage: int, channel: int, hop: int = 0) -> tuple[dict[int, _Stage], int]:
        """Stages after ``stage`` that pass ``channel`` on alone, and the output that it arrives at.

        It leaves the next stage as channel ``hop``, those after it as channel 0.
        """
        stages = {}
        for index in range(stage + 1, len(self.shape.stages)):
            stages[index] = _Stage.silent(self.shape.stages[index])
            stages[index].pass_on(channel, hop, self.shape.weight_bits)
            channel, hop = hop, 0
        return stages, channel

    def preceding(self, stage: int) -> dict[int, _Stage]:
        """Stages before ``stage`` that pass a map on unchanged, as many of its channels as there are."""
        stages = {}
        for index, shape in enumerate(self.shape.stages[:stage]):
            stages[index] = _Stage.silent(shape)
            for channel in range(min(shape.in_channels, shape.out_channels)):
                stages[index].pass_on(channel, channel, self.shape.weight_bits)
        return stages


def locate(device: Device, parameters: SpnParameters, values: np.ndarray) -> Fault | None:
    """The fault that makes ``device`` answer wrongly for the map ``values`` under ``parameters``.

    None if the device now answers rightly: the fault does not repeat. Leaves other parameters in the
    device than it found. Loads and asks some dozens of times, more for longer maps by the logarithm.
    """
    device.load(parameters)
    if answer_of(device, values) == expected_answer(parameters, values):
        return None
    prober = _Prober(device, parameters)

    def differs(piece: np.ndarray) -> bool:
        return answer_of(device, piece) != expected_answer(parameters, piece)

    end = _first(lambda size: size > 0 and differs(values[:, :, :size]), values.shape[2]) + 1
    values = values[:, :, :end]
    place = _fault_on_constants(prober, values) or _fault_on_map(prober, values)
    if place is not None:
        return _locate_pixel(prober, *place, values)
    device.load(parameters)
    got, expected = answer_of(device, values), expected_answer(parameters, values)
    return Fault(SCALE_HEAD if got[0] != expected[0] else KERNEL_SIZE)


def _fault_on_constants(prober: _Prober, values: np.ndarray) -> tuple[int, int] | None:
    """First stage, and its first channel, that errs when all a stage does is make or pass on a constant."""
    shapes = prober.shape.stages
    found = None
    behind: list[Scales] = []
    for stage in reversed(range(len(shapes))):
        answers = []
        blamed = []
        for channel in range(shapes[stage].out_channels):
            stages = {index: _Stage.silent(shapes[index]) for index in range(stage + 1)}
            # The same accumulator and shift as in a stage that passes the constant on.
            stages[stage].shift[channel] = prober.shape.weight_bits - 2
            stages[stage].bias[channel] = _CONSTANT << (prober.shape.weight_bits - 2)
            wrong = []
            for hop in prober.hops(stage):
                following, output = prober.following(stage, channel, hop)
                got, expected = prober.means(_in_order(stages | following), output, values)
                wrong.append(got != (behind[hop] if behind else expected))
                if hop == 0:
                    answers.append(got)
            if all(wrong):
                blamed.append((stage, channel))
        found = blamed[0] if blamed else found
        behind = answers
    return found


def _fault_on_map(prober: _Prober, values: np.ndarray) -> tuple[int, int] | None:
    """First stage, and its first channel, whose output differs for the map."""

    def differs(stage: int, channel: int, hop: int) -> bool:
        following, output = prober.following(stage, channel, hop)
        return prober.differs(_in_order(prober.original(0, stage + 1) | following), output, values)

    places = ((s, c) for s, shape in enumerate(prober.shape.stages) for c in range(shape.out_channels))
    return next(
        (place for place in places if all(differs(*place, hop) for hop in prober.hops(place[0]))), None
    )


def _locate_pixel(prober: _Prober, stage: int, channel: int, values: np.ndarray) -> Fault:
    name, height = f"conv stage {stage}", prober.shape.height
    following, output = prober.following(stage, channel)
    tested = prober.original(stage, stage + 1)

    # Alone, if the fault shows then too: the reference's activations reach the stage unchanged.
    inputs, preceding = _activations(prober.parameters, values, stage), prober.preceding(stage)
    if not prober.differs(_in_order(preceding | tested | following), output, inputs):
        inputs, preceding = values, prober.original(0, stage)
    elif stage + 1 < len(prober.shape.stages):
        masked = _masked_probe(prober, preceding, stage, channel, inputs)
        if masked is not None:
            pixel = _first(masked, height * inputs.shape[2])
            return Fault(name, channel, pixel % height, pixel // height)

    stages = _in_order(preceding | tested | following)

    def kept(count: int) -> bool:
        return prober.differs(
            stages, output, np.where(_opened(inputs, count), inputs, 0).astype(inputs.dtype)
        )

    if not kept(0):
        pixel = _first(kept, height * inputs.shape[2])
        return Fault(name, channel, pixel % height, pixel // height, exact=False)
    # It differs for a map of zeros: the shortest map that still shows it tells the position, not the row.
    position = _first(
        lambda size: size > 0 and prober.differs(stages, output, inputs[:, :, :size]), inputs.shape[2]
    )
    return Fault(name, channel, None, position, exact=False)


def _masked_probe(
    prober: _Prober, preceding: dict[int, _Stage], stage: int, channel: int, inputs: np.ndarray
) -> Callable[[int], bool] | None:
    """``differs(opened)`` with only the first ``opened`` output pixels of ``stage`` let through.

    An input channel is given up for the mask; None if giving up any of them hides the fault.
    """
    shapes = prober.shape.stages
    if shapes[stage].out_channels < 2:
        return None
    carrier = 1 if channel == 0 else 0
    bits = prober.shape.weight_bits
    mask = shapes[stage].input_format.max
    # Where the mask is off, w·x - 3·w·mask <= w·(255 - 3·127) < 0 closes the pixel.
    weight, closing = 1 << (bits - 3), 3 << (bits - 3)
    gate = _Stage.silent(shapes[stage + 1])
    gate.centre(channel, 0, weight)
    gate.centre(carrier, 0, closing)
    gate.bias[0] = -closing * mask
    gate.shift[0] = bits - 3
    following, output = prober.following(stage + 1, 0)

    for given_up in range(shapes[stage].in_channels):
        tested = _Stage.of(prober.parameters, stage)
        tested.weights[channel, given_up] = 0
        tested.pass_on(given_up, carrier, bits)
        stages = _in_order(preceding | {stage: tested, stage + 1: gate} | following)

        def differs(opened: int, stages: Sequence[_Stage] = stages, given_up: int = given_up) -> bool:
            values = inputs.copy()
            values[given_up] = _opened(inputs, opened) * mask
            return prober.differs(stages, output, values)

        if differs(inputs[0].size) and not differs(0):
            return differs
    return None


def _activations(parameters: SpnParameters, values: np.ndarray, stage: int) -> np.ndarray:
    """Input of ``stage`` in the reference, as far as a map of the device holds it."""
    if stage == 0:
        return values
    activations = run_spn(parameters, values[None], np.array([values.shape[2]]), trace=True).stages[
        stage - 1
    ][0]
    held = np.zeros_like(values)
    channels = min(len(held), len(activations))
    held[:channels] = np.minimum(activations[:channels], np.iinfo(held.dtype).max)
    return held


def _opened(values: np.ndarray, count: int) -> np.ndarray:
    """Mask [H, L] of the first ``count`` pixels in the order of the stream: length-major."""
    _, height, length = values.shape
    return (np.arange(height * length) < count).reshape(length, height).T


def _first(differs: Callable[[int], bool], count: int) -> int:
    """Index of the item whose addition makes ``differs(items)`` true, between 0 items and ``count``."""
    agreeing, differing = 0, count
    while differing - agreeing > 1:
        middle = (agreeing + differing) // 2
        if differs(middle):
            differing = middle
        else:
            agreeing = middle
    return agreeing


def _in_order(stages: dict[int, _Stage]) -> list[_Stage]:
    return [stages[index] for index in sorted(stages)]
