"""Kernel modulation networks on devices: logits, adaptation between maps, adaptation that breaks off."""

import dataclasses

import numpy as np
import pytest
from far_akm_device import SHAPE, logits, maps_of, opened

import adakern
from adakern.akm_parameters import AkmParameters, kernels_of
from adakern.artifact import Artifact
from adakern.device.emulator import EmulatorDevice
from adakern.device.packet_device import BatchInterrupted
from adakern.device.predictions import ClassPrediction
from adakern.kernels import Border
from adakern.parameters import SpnParameters
from adakern.verification import cases_in_all, verify
from adakern_spec.akm import kernel_offset, kernel_sizes
from adakern_spec.errors import DeviceError, InputError
from adakern_spec.network import REFERENCE
from adakern_spec.networks import block_size, folds_for_budget, latency

R = [np.linspace(0.2, 1.3, 8), [0.9], np.full(5, -1.1)]
S = [np.full(8, 2.0), np.linspace(-1, 1, 6), [0.0]]
ADAPTATIONS = [(R, S), ([0.5, 0.5, 0.5], [1.0, 1.0, 1.0]), ([1.3, 0.0, 0.7], [3.0, -3.0, 0.5])]


@pytest.fixture
def parameters() -> AkmParameters:
    return AkmParameters.random(SHAPE, np.random.default_rng(2))


def adapted(parameters: AkmParameters, r=R, s=S) -> AkmParameters:
    return parameters.with_kernels(kernels_of(SHAPE, r, s))


def emulator(parameters: AkmParameters) -> EmulatorDevice:
    device = EmulatorDevice(SHAPE, folds_for_budget(SHAPE, 60))
    device.load(parameters)
    return device


def test_emulator_answers_as_the_reference(parameters):
    folds = folds_for_budget(SHAPE, 60)
    device = emulator(parameters)
    maps = maps_of(70)
    answers = list(device.stream(maps))
    assert [answer.logits for answer in answers] == logits(parameters, maps)
    assert min(min(answer.logits) for answer in answers) < 0
    assert [answer.cycles for answer in answers] == [latency(SHAPE, folds, m.shape[2]) for m in maps]
    assert all(answer == ClassPrediction(answer.logits, answer.cycles, parameters.crc) for answer in answers)
    batch = np.stack([values[:, :, :9] for values in maps_of(5) if values.shape[2] >= 9])
    found = device.predict(batch, np.full(len(batch), 9))
    assert [tuple(row) for row in found.logits.tolist()] == logits(parameters, list(batch))
    assert found.classes.tolist() == found.logits.argmax(axis=1).tolist()


def test_registry_opens_an_artifact_of_either_kind(parameters, tmp_path):
    artifact = Artifact(parameters, (8, 5, 5, 5, 20), {}, network={})
    maps = maps_of(3)
    with adakern.open("emulator:", artifact) as device:
        assert [answer.logits for answer in device.stream(maps)] == logits(parameters, maps)


def test_packet_device_answers_as_the_reference(parameters):
    device, _ = opened(parameters)
    maps = maps_of(12)
    answers = list(device.stream(maps))
    assert [answer.logits for answer in answers] == logits(parameters, maps)
    assert {(answer.cycles, answer.parameter_crc) for answer in answers} == {(90, parameters.crc)}


@pytest.mark.parametrize("kind", ["emulator", "packets"])
@pytest.mark.parametrize(("r", "s"), ADAPTATIONS)
def test_adapted_device_answers_as_the_adapted_reference(parameters, kind, r, s):
    if kind == "emulator":
        device = emulator(parameters)
    else:
        device, _ = opened(parameters)
    maps = maps_of(5)
    before = [answer.logits for answer in device.stream(maps)]
    device.adapt(r, s)
    after = list(device.stream(maps))
    assert before == logits(parameters, maps)
    assert [answer.logits for answer in after] == logits(adapted(parameters, r, s), maps)
    assert [answer.logits for answer in after] != before
    assert {answer.parameter_crc for answer in after} == {adapted(parameters, r, s).crc}


def test_adaptation_sends_no_more_than_the_kernels(parameters):
    device, far = opened(parameters)
    device.adapt(R, S)
    offset = kernel_offset(SHAPE)
    run = list(range(min(far.writes), max(far.writes) + 1))
    assert far.writes == run
    assert offset <= run[0]
    assert len(run) <= sum(kernel_sizes(SHAPE))
    assert far.loaded == adapted(parameters)
    device.adapt(R, S, border=Border.COPY)
    assert far.loaded == parameters.with_kernels(kernels_of(SHAPE, R, S, Border.COPY))


def test_border_mode_stays_the_networks(parameters):
    """Also behind an adaptation so narrow that no column is smoothed in either mode."""
    device, far = opened(parameters.with_kernels(kernels_of(SHAPE, R, S, Border.COPY)))
    for widths in (R, [0.1] * 3, R):
        device.adapt(widths, S)
        assert far.loaded == parameters.with_kernels(kernels_of(SHAPE, widths, S, Border.COPY))
    maps = maps_of(4)
    zero = logits(adapted(parameters), maps)
    assert [answer.logits for answer in device.stream(maps)] != zero
    device.adapt(R, S, border=Border.ZERO)
    assert [answer.logits for answer in device.stream(maps)] == zero


def test_one_gate_alone_costs_a_few_bytes(parameters):
    device, far = opened(adapted(parameters))
    device.adapt(R, [S[0], S[1], [0.5]])
    # The height's taps of the last layer, whose records come last; the length's stay.
    assert len(far.writes) <= sum(kernel_sizes(SHAPE)[2:])
    assert far.loaded == adapted(parameters, R, [S[0], S[1], [0.5]])


def test_update_sends_a_classifier_with_the_kernels(parameters):
    device, far = opened(parameters)
    changed = dataclasses.replace(adapted(parameters), class_weights=parameters.class_weights // 2)
    device.update(changed)
    assert far.loaded == changed
    assert min(far.writes) >= kernel_offset(SHAPE) - SHAPE.classes * (SHAPE.features + 4)
    with pytest.raises(DeviceError, match="an update of another network"):
        device.update(AkmParameters.random(dataclasses.replace(SHAPE, radius=2), np.random.default_rng(0)))


@pytest.mark.parametrize("kind", ["emulator", "packets"])
def test_adaptation_amid_a_stream_lies_between_two_maps(parameters, kind):
    """Each map with the kernels of the moment when it was drawn, and only one change in the stream."""
    device, far = opened(parameters)
    if kind == "emulator":
        device = emulator(parameters)
    drawn: list[AkmParameters] = []
    maps = maps_of(30)

    def source():
        for index, values in enumerate(maps):
            if index == 11:
                device.adapt(R, S)
            drawn.append(adapted(parameters) if index >= 11 else parameters)
            yield values

    answers = list(device.stream(source()))
    for answer, values, kernels in zip(answers, maps, drawn, strict=True):
        assert answer.logits == logits(kernels, [values])[0]
        assert answer.parameter_crc == kernels.crc
    if kind == "packets":
        assert kernel_offset(SHAPE) <= min(far.writes)
        assert len(far.writes) == max(far.writes) - min(far.writes) + 1
        assert device.link.repeated == 0


def test_adaptations_between_answers_reach_later_maps(parameters):
    device, _ = opened(parameters)
    maps = maps_of(40)
    answers = []
    for index, answer in enumerate(device.stream(maps)):
        answers.append(answer)
        if index == 7:
            device.adapt(R, S)
        if index == 25:
            device.adapt([0.4] * 3, [0.0] * 3)
    versions = [parameters, adapted(parameters), adapted(parameters, [0.4] * 3, [0.0] * 3)]
    order = [[version.crc for version in versions].index(answer.parameter_crc) for answer in answers]
    assert order == sorted(order)
    assert set(order) == {0, 1, 2}
    for answer, values, version in zip(answers, maps, order, strict=True):
        assert answer.logits == logits(versions[version], [values])[0]


@pytest.mark.parametrize("packets", [0, 1])
def test_adaptation_that_breaks_off_leaves_the_old_kernels(parameters, packets):
    """Of the run's packets ``packets`` arrive, then nothing until the host begins anew."""
    device, far = opened(parameters)
    far.dies_after = packets
    with pytest.raises(DeviceError, match="silent"):
        device.adapt(R, S)
    assert far.loaded == parameters
    maps = maps_of(3)
    far.writes.clear()
    assert [answer.logits for answer in device.stream(maps)] == logits(parameters, maps)
    assert not far.writes
    device.adapt(R, S)
    assert [answer.logits for answer in device.stream(maps)] == logits(adapted(parameters), maps)


def test_device_lost_amid_an_adaptation_in_a_stream_answers_every_map_rightly(parameters):
    device, far = opened(parameters)
    maps = maps_of(20)

    def source():
        for index, values in enumerate(maps):
            if index == 9:
                device.adapt(R, S)
                far.dies_after = 3
            yield values

    answers = list(device.stream(source()))
    kernels = [parameters] * 9 + [adapted(parameters)] * 11
    for answer, values, version in zip(answers, maps, kernels, strict=True):
        assert (answer.logits, answer.parameter_crc) == (logits(version, [values])[0], version.crc)


@pytest.mark.parametrize("streaming", [False, True])
def test_store_that_holds_something_else_gets_the_whole_block(parameters, streaming):
    device, far = opened(parameters)
    far.store[3] ^= 0x10
    maps = maps_of(12)

    def source():
        for index, values in enumerate(maps):
            if index == 5:
                device.adapt(R, S)
            yield values

    if streaming:
        versions = [parameters] * 5 + [adapted(parameters)] * 7
        for answer, values, version in zip(device.stream(source()), maps, versions, strict=True):
            assert answer.logits == logits(version, [values])[0]
    else:
        device.adapt(R, S)
    assert set(far.writes) == set(range(block_size(SHAPE)))
    assert [answer.logits for answer in device.stream(maps)] == logits(adapted(parameters), maps)


def test_a_stream_after_one_with_an_adaptation_asks_nothing(parameters):
    device, far = opened(parameters)
    stream = device.stream(maps_of(30))
    next(stream)
    device.adapt(R, S)
    assert len(list(stream)) == 29
    assert far.loaded == adapted(parameters)
    far.on_identity = None
    assert len(list(device.stream(maps_of(2)))) == 2


@pytest.mark.parametrize(
    ("r", "s", "message"),
    [
        ([0.5, [0.5] * 5 + [float("nan")], 0.5], [0.0] * 3, "layer 1, channel 5: r is not finite"),
        ([0.5] * 3, [0.0, float("inf"), 0.0], "layer 1, channel 0: s is not finite"),
        ([0.5, 0.5, 1.4], [0.0] * 3, r"layer 2, channel 0: sigma 1\.4000 .* use \|r\| up to 1\.3333"),
        ([0.5] * 2, [0.0] * 3, "adaptation: r of 2 layers; give 3, one per layer"),
        (0.5, [0.0] * 3, "adaptation: r is a single float; give 3, one per layer"),
        ([0.5] * 3, np.array(0.0), "adaptation: s is a single ndarray; give 3, one per layer"),
        ([0.5] * 3, [0.0, "wide", 0.0], "layer 1: s is no number and no array .*wide.*; give real numbers"),
        ([0.5, [[0.5], [0.5, 0.5]], 0.5], [0.0] * 3, "layer 1: r is no number and no array"),
        ([0.5, 0.5, [0.5] * 4], [0.0] * 3, r"layer 2: r of shape \(4,\); give 1 or 5 values"),
    ],
)
def test_unusable_adaptation_changes_nothing(parameters, r, s, message):
    device, far = opened(parameters)
    with pytest.raises(InputError, match=message):
        device.adapt(r, s)
    assert not far.writes
    maps = maps_of(2)
    assert [answer.logits for answer in device.stream(maps)] == logits(parameters, maps)


def test_a_sigma_is_clipped_on_request(parameters):
    device, far = opened(parameters)
    device.adapt([0.5, 9.0, 0.5], [0.0] * 3, clip_sigma=True)
    assert far.loaded == parameters.with_kernels(kernels_of(SHAPE, [0.5, 9.0, 0.5], [0.0] * 3, clip=True))


def test_only_a_loaded_kernel_modulation_network_adapts(parameters):
    device = EmulatorDevice(SHAPE, folds_for_budget(SHAPE, 60))
    with pytest.raises(DeviceError, match="no kernel modulation network to adapt"):
        device.adapt(R, S)
    spn = EmulatorDevice(REFERENCE, folds_for_budget(REFERENCE, 60))
    spn.load(SpnParameters.random(REFERENCE, np.random.default_rng(0)))
    with pytest.raises(DeviceError, match="no kernel modulation network to adapt"):
        spn.adapt(R, S)


def test_another_model_amid_a_stream_is_still_an_error(parameters):
    device, _ = opened(parameters)
    stream = device.stream(maps_of(9))
    next(stream)
    device.load(AkmParameters.random(SHAPE, np.random.default_rng(8)))
    with pytest.raises(DeviceError, match="another model was loaded"):
        next(stream)


def test_wrong_answers_of_a_device_are_not_taken(parameters):
    device, far = opened(parameters)
    assert far.loaded is not None
    far.loaded = adapted(parameters)
    with pytest.raises(BatchInterrupted, match="is not that of job"):
        list(device.stream(maps_of(1)))


def test_verify_passes_a_right_device_and_names_what_differs(parameters):
    device = EmulatorDevice(SHAPE, folds_for_budget(SHAPE, 60))
    outcome = verify(device, parameters, 5, seed=1)
    assert (outcome.mismatch, outcome.maps) == (None, cases_in_all(5))

    class Wrong(EmulatorDevice):
        def stream(self, maps):
            for answer in super().stream(maps):
                yield ClassPrediction((*answer.logits[:2], 7, answer.logits[3]), 1, answer.parameter_crc)

    mismatch = verify(Wrong(SHAPE, folds_for_budget(SHAPE, 60)), parameters, 5, seed=1).mismatch
    assert mismatch is not None
    assert "logit_2 7 instead of" in str(mismatch)
    assert "repeat" not in str(mismatch)
    assert mismatch.to_json()["got"]["logit_2"] == 7


def test_no_module_of_scales():
    with pytest.raises(DeviceError, match="no scales in a kernel modulation network"):
        EmulatorDevice(SHAPE, folds_for_budget(SHAPE, 60)).as_module(8)
