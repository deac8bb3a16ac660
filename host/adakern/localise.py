"""Where a device first leaves the reference: stage, pixel and channel, found through its answers alone.

A device shows two scales per map and nothing inside, on a board as in simulation. But its
parameters can be loaded, and so it is asked with parameters that let one thing through:

- Stage and channel: the stages after the one in question pass a single channel on unchanged, and the
  head shows that channel's mean unscaled. A later stage may err even then. So first each stage in turn
  makes the same constant: the answers change at the stage that adds an error of its own. And a channel
  is blamed only if it errs through every channel of the next stage.
- Pixel: the stages before pass the reference's activations on unchanged; one input channel becomes a
  mask, and the next stage closes every pixel but the one whose mask is set. Opened one by one in the
  order of the stream, the first that makes the answers differ is the one.

A mean of N pixels hides what changes their sum by less than N / 2^8, so the map is first cut to the
shortest that still shows the fault. No stage follows the last, so nothing can mask its output: there
the first *input* pixel whose presence matters is found, at most ``radius`` away from the faulty output.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from adakern_spec.network import ConvShape
from adakern_spec.numbers import ACTIVATION_BITS

from .device.base import Device
from .parameters import SpnParameters
from .probing import Prober, Scales, Stage, Stages, answer_of, contribution, expected_answer
from .reference.conv import conv_stage
from .reference.spn import run_spn

SCALE_HEAD = "scale head"
KERNEL_SIZE = "kernel size"

_CONSTANT = 0x55
"""An activation with ones and zeros in turn."""

SCANNED_PIXELS = 4096
"""Pixels that are looked at one by one; of a longer map the last, where it first shows the fault."""


@dataclass(frozen=True)
class Fault:
    """Where device and reference first differ in the shortest start of the map that shows it.

    ``stage`` is "conv stage 0" and so on, or what follows the stages; ``row`` and ``position`` are of
    the stage's output if ``exact``, else of the input pixel that reveals the fault. What cannot be told
    is None. ``length`` are the positions of the map up to which it was cut.
    """

    stage: str
    channel: int | None = None
    row: int | None = None
    position: int | None = None
    exact: bool = True
    length: int = field(default=0, compare=False)

    def __str__(self) -> str:
        named = (("channel", self.channel), ("row", self.row), ("position", self.position))
        place = ", ".join([self.stage, *(f"{name} {value}" for name, value in named if value is not None)])
        place += f" of the map's first {self.length} positions"
        return place if self.exact else f"{place} (the stage's input: its output is not visible by pixel)"

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "pixel": None if self.position is None else [self.row, self.position],
            "channel": self.channel,
            "exact": self.exact,
            "length": self.length,
        }


def locate(device: Device, parameters: SpnParameters, values: np.ndarray) -> Fault | None:
    """The fault that makes ``device`` answer wrongly for the map ``values`` under ``parameters``.

    None if the device now answers rightly: the fault does not repeat. Leaves other parameters in the
    device than it found. Loads and asks some dozens of times, then once for each pixel ahead of the fault.
    """
    device.load(parameters)
    if answer_of(device, values) == expected_answer(parameters, values):
        return None
    prober = Prober(device, parameters)

    def differs(piece: np.ndarray) -> bool:
        return answer_of(device, piece) != expected_answer(parameters, piece)

    end = _first(lambda size: size > 0 and differs(values[:, :, :size]), values.shape[2]) + 1
    values = values[:, :, :end]
    place = _fault_on_constants(prober, values) or _fault_on_map(prober, values)
    if place is not None:
        return replace(_locate_pixel(prober, *place, values), length=end)
    device.load(parameters)
    got, expected = answer_of(device, values), expected_answer(parameters, values)
    return Fault(SCALE_HEAD if got[0] != expected[0] else KERNEL_SIZE, length=end)


def _fault_on_constants(prober: Prober, values: np.ndarray) -> tuple[int, int] | None:
    """First stage, and its first channel, that errs when all a stage does is make or pass on a constant."""
    shapes = prober.shape.stages
    found = None
    behind: list[Scales] = []
    for stage in reversed(range(len(shapes))):
        answers = []
        blamed = []
        for channel in range(shapes[stage].out_channels):
            stages = {index: Stage.silent(shapes[index]) for index in range(stage + 1)}
            # The same accumulator and shift as in a stage that passes the constant on.
            stages[stage].shift[channel] = prober.shape.weight_bits - 2
            stages[stage].bias[channel] = _CONSTANT << (prober.shape.weight_bits - 2)
            wrong = []
            for hop in prober.hops(stage):
                following, output = prober.following(stage, channel, hop)
                got, expected = prober.means(stages | following, output, values)
                wrong.append(got != (behind[hop] if behind else expected))
                if hop == 0:
                    answers.append(got)
            if all(wrong):
                blamed.append((stage, channel))
        found = blamed[0] if blamed else found
        behind = answers
    return found


def _fault_on_map(prober: Prober, values: np.ndarray) -> tuple[int, int] | None:
    """First stage, and its first channel, whose output differs for the map."""

    def differs(stage: int, channel: int, hop: int) -> bool:
        following, output = prober.following(stage, channel, hop)
        return prober.differs(prober.original(0, stage + 1) | following, output, values)

    places = ((s, c) for s, shape in enumerate(prober.shape.stages) for c in range(shape.out_channels))
    return next(
        (place for place in places if all(differs(*place, hop) for hop in prober.hops(place[0]))), None
    )


def _locate_pixel(prober: Prober, stage: int, channel: int, values: np.ndarray) -> Fault:
    name, height = f"conv stage {stage}", prober.shape.height
    following, output = prober.following(stage, channel)
    tested = prober.original(stage, stage + 1)

    # Alone, if the fault shows then too: the reference's activations reach the stage unchanged.
    inputs, preceding = _activations(prober.parameters, values, stage), prober.preceding(stage)
    if not prober.differs(preceding | tested | following, output, inputs):
        inputs, preceding = values, prober.original(0, stage)
    elif stage + 1 < len(prober.shape.stages):
        pixel = _first_output_pixel(prober, preceding, stage, channel, inputs)
        if pixel is not None:
            return Fault(name, channel, pixel % height, pixel // height)

    stages = preceding | tested | following

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


def _first_output_pixel(
    prober: Prober, preceding: Stages, stage: int, channel: int, inputs: np.ndarray
) -> int | None:
    """First pixel, in the order of the stream, where ``channel`` of ``stage`` differs; None if unknown.

    One pixel is looked at after another. An input channel carries the mask instead of its values; what it
    would have added to the sum at the one open pixel goes into the bias, so that the accumulator there
    is the model's own. The next stage takes the difference to the reference times ``weight``.
    """
    shapes, bits = prober.shape.stages, prober.shape.weight_bits
    if shapes[stage].out_channels < 2:
        return None
    carrier = 1 if channel == 0 else 0
    mask = shapes[stage].input_format.max
    # Where the mask is off, weight·x - 3·weight·mask <= weight·(255 - 3·127) < -middle closes the pixel.
    weight, closing, middle = 1 << (bits - 3), 3 << (bits - 3), 1 << (ACTIVATION_BITS - 1)
    following, output = prober.following(stage + 1, 0)
    original = Stage.of(prober.parameters, stage)
    _, height, length = inputs.shape
    pixels = height * length
    seen = _seen(shapes[stage], stage, inputs)
    right = conv_stage(seen[None], original.weights, original.bias, original.shift)[0, channel].astype(
        np.int64
    )

    def differs(given_up: int, pixel: int | None) -> bool:
        tested = Stage.of(prober.parameters, stage)
        tested.weights[channel, given_up] = 0
        tested.pass_on(given_up, carrier, bits)
        gate = Stage.silent(shapes[stage + 1])
        gate.centre(channel, 0, weight)
        gate.centre(carrier, 0, closing)
        gate.bias[0] = middle - closing * mask
        values = inputs.copy()
        values[given_up] = 0
        if pixel is not None:
            row, position = pixel % height, pixel // height
            values[given_up, row, position] = mask
            tested.bias[channel] += contribution(
                original.weights[channel, given_up], inputs[given_up], row, position
            )
            gate.bias[0] -= weight * right[row, position]
        return prober.differs(preceding | {stage: tested, stage + 1: gate} | following, output, values)

    # A fault in what one channel adds hides while that channel is given up, so a second one is tried.
    for given_up in range(min(2, len(inputs), shapes[stage].in_channels)):
        if differs(given_up, None):
            return None
        for pixel in range(max(0, pixels - SCANNED_PIXELS), pixels):
            if differs(given_up, pixel):
                return pixel
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


def _seen(shape: ConvShape, stage: int, inputs: np.ndarray) -> np.ndarray:
    """What reaches a stage of ``shape`` through stages that pass ``inputs`` on unchanged."""
    if stage == 0:
        return inputs
    seen = np.zeros((shape.in_channels, *inputs.shape[1:]), np.uint8)
    channels = min(shape.in_channels, len(inputs))
    seen[:channels] = np.maximum(inputs[:channels], 0)
    return seen


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
