"""The emulator device: the reference's answers, in order, with the gateware's cycles."""

import itertools

import numpy as np
import pytest
import torch

from adakern.device import emulator
from adakern.device.emulator import EmulatorDevice
from adakern.device.predictions import Prediction
from adakern.parameters import SpnParameters
from adakern.reference.spn import run_spn
from adakern_spec.cycles import latency
from adakern_spec.errors import DeviceError, InputError
from adakern_spec.network import REFERENCE, SpnShape, folds_for_budget

SHAPE = SpnShape((2, 3, 2), height=4, max_length=40)
SIGNED = SpnShape((2, 3, 1), height=4, input_signed=True)


def opened(shape: SpnShape = SHAPE, seed: int = 0) -> EmulatorDevice:
    device = EmulatorDevice(shape, folds_for_budget(shape, 12))
    device.load(SpnParameters.random(shape, np.random.default_rng(seed)))
    return device


def draw(shape: SpnShape, batch: int, positions: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    info = np.iinfo(np.int8 if shape.input_signed else np.uint8)
    size = (batch, shape.in_channels, shape.height, positions)
    maps = rng.integers(info.min, info.max, size, endpoint=True).astype(info.dtype)
    return maps, rng.integers(1, positions + 1, batch)


@pytest.mark.parametrize("shape", [SHAPE, SIGNED, REFERENCE], ids=str)
@pytest.mark.parametrize("batch", [0, 1, 63, 64, 65, 130])
def test_predict_and_stream_answer_as_the_reference(shape, batch):
    device = opened(shape)
    maps, lengths = draw(shape, batch, 20)
    wanted = run_spn(SpnParameters.random(shape, np.random.default_rng(0)), maps, lengths)
    predictions = device.predict(maps, lengths)
    assert np.array_equal(predictions.scales, wanted.scales)
    assert np.array_equal(predictions.kernels, wanted.kernels)
    streamed = list(device.stream(m[:, :, :n] for m, n in zip(maps, lengths, strict=True)))
    assert [row.scales for row in streamed] == [tuple(row) for row in wanted.scales.tolist()]
    assert [row.kernels for row in streamed] == [tuple(row) for row in wanted.kernels.tolist()]
    folds = folds_for_budget(shape, 12)
    cycles = [latency(shape, folds, int(length)) for length in lengths]
    assert [row.cycles for row in streamed] == predictions.cycles.tolist() == cycles
    assert all(isinstance(row, Prediction) for row in streamed)


def test_stream_takes_no_more_than_a_batch_ahead():
    taken = 0

    def endless():
        nonlocal taken
        for length in itertools.cycle(range(1, 20)):
            taken += 1
            yield np.zeros((2, 4, length), np.uint8)

    answers = opened().stream(endless())
    for count, _ in enumerate(itertools.islice(answers, 200), start=1):
        assert taken <= count + emulator.BATCH


def test_answers_ahead_of_a_refused_map_come_first():
    maps, _ = draw(SHAPE, 70, 9)
    whole = opened().predict(maps, np.full(70, 9))
    stream = opened().stream([*maps, np.zeros((2, 4, 41), np.uint8)])
    answers = list(itertools.islice(stream, 70))
    with pytest.raises(InputError, match=r"map 70: length 41; give 1 to 40"):
        next(stream)
    assert [answer.scales for answer in answers] == [tuple(row) for row in whole.scales.tolist()]


def test_parameters_take_effect_when_loaded():
    device = opened()
    maps, lengths = draw(SHAPE, 5, 20)
    first = device.predict(maps, lengths).scales
    other = SpnParameters.random(SHAPE, np.random.default_rng(5))
    device.load(other)
    second = device.predict(maps, lengths).scales
    assert np.array_equal(second, run_spn(other, maps, lengths).scales)
    assert not np.array_equal(first, second)


def test_progress_counts_the_maps():
    maps, lengths = draw(SHAPE, 130, 5)
    seen: list[int] = []
    opened().predict(maps, lengths, seen.append)
    assert seen == [64, 128, 130]


def test_a_model_of_another_shape_is_refused():
    with pytest.raises(DeviceError, match="emulator: a model of shape"):
        opened().load(SpnParameters.random(REFERENCE, np.random.default_rng(0)))


def test_maps_without_a_model_are_refused():
    maps, lengths = draw(SHAPE, 1, 5)
    device = EmulatorDevice(SHAPE, folds_for_budget(SHAPE, 12))
    with pytest.raises(DeviceError, match="no parameters; load a model first"):
        device.predict(maps, lengths)
    with opened() as device:
        pass
    device.close()
    with pytest.raises(DeviceError, match="no parameters"):
        list(device.stream(maps))


def test_a_map_of_another_dtype_is_refused():
    maps, lengths = draw(SIGNED, 2, 5)
    with pytest.raises(InputError, match="dtype int8; quantise to uint8 first"):
        opened().predict(maps, lengths)


@pytest.mark.parametrize("shape", [SHAPE, SIGNED], ids=str)
def test_module_quantises_half_up_and_saturates(shape):
    frac = 5
    module = opened(shape).as_module(frac)
    # Steps of an eighth of a unit cover ties, negative values and both ends of the format.
    steps = torch.arange(-1200, 1200, 1).double() / (8 << frac)
    values = steps[torch.randint(len(steps), (6, 2, 4, 15), generator=torch.manual_seed(0))]
    lengths = torch.tensor([15, 1, 2, 9, 14, 15])
    low, high = (-128, 127) if shape.input_signed else (0, 255)
    integers = torch.clamp(torch.floor((2 * values * 2**frac + 1) / 2), low, high).numpy()
    integers = integers.astype(np.int8 if shape.input_signed else np.uint8)
    wanted = opened(shape).predict(integers, lengths.numpy()).scales / 2**14
    scales = module(values.requires_grad_(), lengths)
    assert not scales.requires_grad
    assert scales.shape == (6, 2)
    assert np.array_equal(scales.numpy(), wanted)
    assert module(values.float(), lengths).dtype == torch.float32


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_module_refuses_values_that_are_not_finite(bad):
    maps = torch.zeros(1, 2, 4, 5)
    maps[0, 1, 2, 3] = bad
    with pytest.raises(InputError, match="not finite"):
        opened().as_module(4)(maps, torch.tensor([5]))
