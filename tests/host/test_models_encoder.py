"""The adaptive encoder: its loop, its padding, a replaced SPN, its file."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from adakern.models import AdaptiveEncoder, EncoderConfig, FixedScales, load_encoder, predict, save_encoder
from adakern_spec.errors import AdakernError, ArtifactError, ShapeError

TINY = EncoderConfig(
    height=6, channels=2, spn_channels=(2, 3, 2), iterations=3, head_width=4, head_dilations=(1, 2), outputs=2
)


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    return AdaptiveEncoder(EncoderConfig(**{**TINY.to_json(), **changes}))


def batch(lengths=(9, 4), positions=9, height=6):
    torch.manual_seed(1)
    return torch.rand(len(lengths), 1, height, positions), torch.tensor(lengths)


@pytest.mark.parametrize("pool_mode", ["avg", "max"])
@pytest.mark.parametrize("task", ["classification", "regression", "position-regression"])
def test_the_answer_is_the_same_at_every_padding(task, pool_mode):
    encoder = tiny(task=task, pool_mode=pool_mode)
    maps, lengths = batch(lengths=(5,), positions=5)
    alone, _ = predict(encoder, maps, lengths)
    padded, _ = predict(encoder, torch.cat([maps, torch.rand(1, 1, 6, 8)], dim=3), lengths)
    if task == "position-regression":
        assert not padded[:, 5:].any()
        padded = padded[:, :5]
    torch.testing.assert_close(padded, alone)


def test_output_shapes():
    maps, lengths = batch()
    assert tiny()(maps, lengths).shape == (2, 9, 2)
    assert tiny(task="regression", outputs=1)(maps, lengths).shape == (2, 1)
    assert tiny(task="classification", outputs=3)(maps, lengths).shape == (2, 3)


def test_a_replaced_spn_sees_every_activation_map_and_decides_the_kernels():
    class Recorder(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.seen = inner, []

        def forward(self, x, lengths):
            self.seen.append((x.detach().clone(), lengths.clone()))
            return self.inner(x, lengths)

    encoder = tiny()
    maps, lengths = batch()
    answer, trace = predict(encoder, maps, lengths)
    encoder.spn = Recorder(encoder.spn)
    again, _ = predict(encoder, maps, lengths)
    assert torch.equal(answer, again)
    assert len(encoder.spn.seen) == len(trace.maps) == len(trace.scales) == TINY.iterations
    for (seen, given), traced in zip(encoder.spn.seen, trace.maps, strict=True):
        assert torch.equal(seen, traced)
        assert torch.equal(given, lengths)
        assert seen.min() >= 0
        assert not seen[1, :, :, 4:].any()


def test_fixed_kernels_are_the_adaptive_network_at_scale_one():
    adaptive, fixed = tiny(), tiny(adaptive=False)
    fixed.load_state_dict(
        {name: value for name, value in adaptive.state_dict().items() if not name.startswith("spn.")}
    )
    maps, lengths = batch()
    assert not torch.equal(predict(adaptive, maps, lengths)[0], predict(fixed, maps, lengths)[0])
    adaptive.spn = FixedScales()
    assert torch.equal(predict(adaptive, maps, lengths)[0], predict(fixed, maps, lengths)[0])


def test_the_task_teaches_the_spn():
    encoder = tiny()
    maps, lengths = batch()
    encoder(maps, lengths).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.spn.parameters())
    assert float(encoder.spn.gain.grad.abs().sum()) > 0


def test_configuration_survives_json():
    config = EncoderConfig(**{**TINY.to_json(), "output_names": ("a", "b"), "k_max": 7.5})
    assert EncoderConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"task": "clustering"}, "clustering"),
        ({"task": "classification", "outputs": 1}, "1 outputs"),
        ({"iterations": 0}, "iterations 0"),
        ({"kernel": 4}, "kernel 4"),
        ({"channels": 5}, "behind 5"),
        ({"output_names": ("a",)}, "1 names"),
        ({"iterations": "2"}, "iterations '2'"),
        ({"shared_scale": 1}, "shared_scale 1"),
        ({"spn_channels": 2}, "spn_channels 2"),
        ({"spn_channels": ()}, r"SPN of channels \(\)"),
        ({"head_dilations": (1, 0)}, "head dilations"),
        ({"dropout": 1.5}, "dropout 1.5"),
        ({"pool_mode": "median"}, "pool_mode 'median'"),
    ],
)
def test_bad_configurations_are_refused(changes, named):
    with pytest.raises(ShapeError, match=named):
        EncoderConfig(**{**TINY.to_json(), **changes})


def test_an_unknown_field_is_named():
    with pytest.raises(ShapeError, match="colour"):
        EncoderConfig.from_json({"colour": 1})


def test_a_map_of_another_height_is_refused():
    with pytest.raises(ShapeError, match=r"\(2, 1, 5, 9\)"):
        tiny()(*batch(height=5))


def test_file_round_trip(tmp_path):
    encoder = tiny(output_names=("a", "b"))
    save_encoder(tmp_path / "new" / "encoder.safetensors", encoder)
    loaded = load_encoder(tmp_path / "new" / "encoder.safetensors")
    assert loaded.config == encoder.config
    maps, lengths = batch()
    assert torch.equal(predict(loaded, maps, lengths)[0], predict(encoder, maps, lengths)[0])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["encoder.safetensors"]


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, tiny())
    whole = path.read_bytes()
    tensors = load_file(path)

    with pytest.raises(ArtifactError, match="absent"):
        load_encoder(tmp_path / "absent.safetensors")
    path.write_bytes(whole[:-10])
    with pytest.raises(ArtifactError, match="not readable"):
        load_encoder(path)
    save_file(tensors, path, {"format": "adakern-encoder", "version": "99"})
    with pytest.raises(ArtifactError, match="version 99"):
        load_encoder(path)
    metadata = {"format": "adakern-encoder", "version": "1", "config": json.dumps(TINY.to_json())}
    save_file({name: value for name, value in tensors.items() if name != "lift.bias"}, path, metadata)
    with pytest.raises(ArtifactError, match="inconsistent"):
        load_encoder(path)
    tensors["lift.bias"][0] = float("nan")
    save_file(tensors, path, metadata)
    with pytest.raises(ArtifactError, match=r"non-finite weights in lift\.bias"):
        load_encoder(path)


def test_a_refused_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, tiny())
    before = path.read_bytes()
    broken = tiny()
    with torch.no_grad():
        broken.lift.weight.fill_(float("inf"))
    with pytest.raises(AdakernError, match="non-finite"):
        save_encoder(path, broken)
    assert path.read_bytes() == before


def test_the_loop_at_fixed_odd_kernels_is_plain_pytorch():
    encoder = tiny(adaptive=False, base_height=3, base_length=5)
    maps, _ = batch()
    lifted = state = functional.conv2d(maps, encoder.lift.weight, encoder.lift.bias, padding=1).relu()
    for _ in range(TINY.iterations):
        activation = functional.conv2d(state, encoder.conv.weight, encoder.conv.bias, padding=1).relu()
        state = lifted + functional.avg_pool2d(activation, (3, 5), stride=1, padding=(1, 2))
    lengths = torch.tensor([9, 9])
    torch.testing.assert_close(encoder(maps, lengths), encoder.head(state.flatten(1, 2), lengths))
