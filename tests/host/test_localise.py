"""Faults planted in a device are found where they were planted, through the device's answers alone."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adakern.device.base import Device
from adakern.device.maps import map_dtype
from adakern.device.predictions import Prediction
from adakern.localise import KERNEL_SIZE, SCALE_HEAD, Fault, locate
from adakern.parameters import SpnParameters
from adakern.reference.conv import conv_stage
from adakern.reference.scale import global_average, kernel_size, scale_head
from adakern_spec.network import SpnShape

SHAPE = SpnShape(channels=(4, 5, 4, 2), height=6, max_length=40)

Sabotage = Callable[[int, np.ndarray, np.ndarray], np.ndarray]
"""(stage, its input, its right output), each [C, H, L], to the output that the device makes."""


class FaultyDevice(Device):
    """Stage after stage as the design says, with a fault planted between them."""

    url = "faulty:"

    def __init__(
        self,
        shape: SpnShape,
        sabotage: Sabotage = lambda stage, x, y: y,
        scale_error: int = 0,
        kernel_error: int = 0,
    ) -> None:
        super().__init__(shape)
        self.sabotage = sabotage
        self.scale_error, self.kernel_error = scale_error, kernel_error

    def load(self, parameters: SpnParameters) -> None:
        self.parameters = parameters

    def stream(self, maps: Iterable[np.ndarray]) -> Iterator[Prediction]:
        p = self.parameters
        for values in maps:
            x = values[None]
            for stage, arrays in enumerate(zip(p.weights, p.biases, p.shifts, strict=True)):
                y = conv_stage(x, *arrays)
                x = self.sabotage(stage, x[0], y[0].copy())[None]
            sums = x.sum(axis=(2, 3), dtype=np.int64)
            means = global_average(sums, p.shape.height, np.array([values.shape[2]]))
            scales = scale_head(p, means)
            # The head's fault shows with the model's gain, not with the probes' own of 1.
            scales = scales + self.scale_error * (np.abs(p.gain) > 1).any()
            kernels = kernel_size(p, scales) + self.kernel_error
            yield Prediction(tuple(scales[0].tolist()), tuple(kernels[0].tolist()), 1)

    def close(self) -> None:
        pass


def flip(stage: int, channel: int, row: int, position: int, bit: int) -> Sabotage:
    """One bit of one output value is wrong, whatever the data."""

    def sabotage(index: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if index == stage and position < y.shape[2]:
            y[channel, row, position] ^= 1 << bit
        return y

    return sabotage


def example(shape: SpnShape, seed: int, length: int = 17) -> tuple[SpnParameters, np.ndarray]:
    rng = np.random.default_rng(seed)
    parameters = SpnParameters.random(shape, rng)
    dtype = np.iinfo(map_dtype(shape))
    size = (shape.in_channels, shape.height, length)
    return parameters, rng.integers(dtype.min, dtype.max, size, map_dtype(shape), endpoint=True)


def differing_example(device: Device, shape: SpnShape) -> tuple[SpnParameters, np.ndarray]:
    """The first example whose clamped scales let the fault through."""
    for seed in range(100):
        parameters, values = example(shape, seed)
        device.load(parameters)
        (got,) = device.stream([values])
        right = FaultyDevice(shape)
        right.load(parameters)
        (expected,) = right.stream([values])
        if got != expected:
            return parameters, values
    raise AssertionError("the planted fault never shows")


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize(("channel", "row", "position", "bit"), [(0, 0, 0, 7), (3, 5, 16, 6), (2, 3, 9, 7)])
def test_flipped_bit_is_found_to_the_pixel(
    stage: int, channel: int, row: int, position: int, bit: int
) -> None:
    device = FaultyDevice(SHAPE, flip(stage, channel, row, position, bit))
    parameters, values = differing_example(device, SHAPE)
    assert locate(device, parameters, values) == Fault(f"conv stage {stage}", channel, row, position)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_formats_and_shared_scale(bits: int, signed: bool) -> None:
    shape = SpnShape(channels=(3, 4, 3, 1), height=5, weight_bits=bits, input_signed=signed, max_length=40)
    device = FaultyDevice(shape, flip(0, 2, 1, 4, 7))
    parameters, values = differing_example(device, shape)
    assert locate(device, parameters, values) == Fault("conv stage 0", 2, 1, 4)


def test_fault_of_the_last_stage_is_found_to_the_position() -> None:
    device = FaultyDevice(SHAPE, flip(2, 1, 4, 11, 7))
    parameters, values = differing_example(device, SHAPE)
    assert locate(device, parameters, values) == Fault("conv stage 2", 1, None, 11, exact=False)


def test_fault_that_needs_data_is_found_in_the_last_stage() -> None:
    def sabotage(stage: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if stage == 2 and x.shape[2] > 8 and x[1, 2, 8]:
            y[0, 3, 8] = 255 - y[0, 3, 8]
        return y

    device = FaultyDevice(SHAPE, sabotage)
    parameters, values = differing_example(device, SHAPE)
    fault = locate(device, parameters, values)
    assert fault == Fault("conv stage 2", 0, 2, 8, exact=False)
    assert "input" in str(fault)


@pytest.mark.parametrize("stage", [0, 1])
def test_first_wrong_pixel_is_that_of_the_model_and_the_map(stage: int) -> None:
    """Sums rounded down instead of to nearest: where that shows depends on every bit of the sum."""
    shape = SpnShape(channels=(4, 4, 4, 2), height=6, max_length=40)

    def rounded_down(p: SpnParameters, x: np.ndarray) -> np.ndarray:
        half = np.left_shift(np.int64(1), p.shifts[stage]) >> 1
        return conv_stage(x[None], p.weights[stage], p.biases[stage] - half, p.shifts[stage])[0]

    def sabotage(index: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return rounded_down(device.parameters, x) if index == stage else y

    device = FaultyDevice(shape, sabotage)
    parameters, values = differing_example(device, shape)
    fault = locate(device, parameters, values)
    assert fault is not None
    x = values[None, :, :, : fault.length]
    for arrays in zip(parameters.weights, parameters.biases, parameters.shifts, strict=True):
        seen, x = x, conv_stage(x, *arrays)
        if arrays[0] is parameters.weights[stage]:
            break
    wrong = rounded_down(parameters, seen[0]) != x[0]
    channel = int(np.argmax(wrong.any(axis=(1, 2))))
    position, row = np.argwhere(wrong[channel].T)[0].tolist()
    assert fault == Fault(f"conv stage {stage}", channel, row, position)


def test_wrong_output_everywhere_is_found_in_the_first_stage_that_has_it() -> None:
    for stage in range(3):
        first = stage

        def sabotage(index: int, x: np.ndarray, y: np.ndarray, first: int = first) -> np.ndarray:
            return np.maximum(y, 1) - 1 if index >= first else y

        device = FaultyDevice(SHAPE, sabotage)
        parameters, values = differing_example(device, SHAPE)
        fault = locate(device, parameters, values)
        assert fault is not None
        assert fault.stage == f"conv stage {stage}"


def test_faults_behind_the_stages_are_told_apart() -> None:
    for device, stage in (
        (FaultyDevice(SHAPE, scale_error=1), SCALE_HEAD),
        (FaultyDevice(SHAPE, kernel_error=1), KERNEL_SIZE),
    ):
        parameters, values = differing_example(device, SHAPE)
        assert locate(device, parameters, values) == Fault(stage)


def test_right_device_has_no_fault() -> None:
    assert locate(FaultyDevice(SHAPE), *example(SHAPE, 0)) is None


def test_command_names_the_fault(
    cli: Callable[..., Any], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_faulty(shape: SpnShape, folds: object) -> FaultyDevice:
        return FaultyDevice(shape, flip(0, 2, 1, 5, 6))

    monkeypatch.setattr("adakern.device.emulator.EmulatorDevice", open_faulty)
    outcome = cli("verify", model, "--device", "emulator:", "--count", 10, "--json")
    assert outcome.status == 1
    report = json.loads(outcome.out)
    assert (report["device"], report["agree"]) == ("faulty:", False)
    mismatch = report["mismatch"]
    assert mismatch["got"] != mismatch["expected"]
    place = {"stage": "conv stage 0", "pixel": [1, 5], "channel": 2, "exact": True, "length": 6}
    assert mismatch["fault"] == place
    text = "first differs at conv stage 0, channel 2, row 1, position 5 of the map's first 6 positions"
    assert text in outcome.error
    assert outcome.error.startswith("error: faulty: ")
