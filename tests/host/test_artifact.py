"""The artifact file: what goes in comes out, and whatever is not sound is refused in one line."""

import dataclasses
import errno
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from adakern.akm_parameters import AkmParameters
from adakern.artifact import ARTIFACT_VERSION, Artifact, load, quantise_maps, save
from adakern.parameters import SpnParameters
from adakern_spec.akm import AkmLayer, AkmShape, Downsample
from adakern_spec.digest import spec_digest
from adakern_spec.errors import ArtifactError
from adakern_spec.network import SpnShape
from adakern_spec.numbers import Format


def artifact(seed=0, **changes):
    rng = np.random.default_rng(seed)
    shape = SpnShape((3, 4, 2), height=5, input_signed=True, max_length=500)
    fields = {
        "parameters": SpnParameters.random(shape, rng),
        "fractions": (4, 5, 6),
        "float_parameters": {"spn.gain": rng.normal(size=2).astype(np.float32)},
        "encoder": {"height": 5, "task": "regression"},
        "report": {"scale_error_max": 0.001},
    }
    return Artifact(**fields | changes)


def akm_artifact():
    shape = AkmShape(1, 9, (AkmLayer(4, 5, Downsample.MAX2), AkmLayer(3)), 5, radius=3, max_length=20)
    rng = np.random.default_rng(1)
    return Artifact(
        parameters=AkmParameters.random(shape, rng),
        fractions=(8, 5, 4, 17),
        float_parameters={"convs.0.r": np.float32(0.5), "convs.1.r": np.ones(3, np.float32)},
        network={"channels": [1, 4, 3], "classes": 5},
        report={"maps": 3},
    )


@pytest.fixture
def path(tmp_path):
    save(tmp_path / "model.safetensors", artifact())
    return tmp_path / "model.safetensors"


def metadata(path):
    with safe_open(path, framework="np") as file:
        return json.loads(file.metadata()["adakern"])


def tensors(path):
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict


def refused(path):
    with pytest.raises(ArtifactError) as error:
        load(path)
    line = str(error.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def test_everything_comes_back(path):
    given, loaded = artifact(), load(path)
    assert loaded.parameters == given.parameters
    assert loaded.fractions == given.fractions
    assert loaded.encoder == given.encoder
    assert loaded.report == given.report
    assert loaded.float_parameters.keys() == given.float_parameters.keys()
    np.testing.assert_array_equal(loaded.float_parameters["spn.gain"], given.float_parameters["spn.gain"])


def test_extreme_parameters_survive(tmp_path):
    shape = SpnShape((2, 3, 1), height=3, weight_bits=4)
    for seed in range(5):
        given = SpnParameters.random(shape, np.random.default_rng(seed), extreme=True)
        save(tmp_path / "extreme.safetensors", artifact(parameters=given))
        assert load(tmp_path / "extreme.safetensors").parameters == given


def test_formats_and_digest_follow_the_shape():
    made = artifact()
    assert made.input_format == Format(8, signed=True, frac=4)
    assert made.output_formats == (Format(8, signed=False, frac=5), Format(8, signed=False, frac=6))
    assert made.digest == spec_digest(made.shape)


def test_the_same_artifact_gives_the_same_bytes(tmp_path, path):
    save(tmp_path / "again.safetensors", artifact())
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_loading_needs_no_torch(path):
    code = (
        f"import sys; from adakern.artifact import load; load({str(path)!r}); print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_missing_file(tmp_path):
    assert "no such file" in refused(tmp_path / "absent.safetensors")
    assert "a folder" in refused(tmp_path)


def test_a_folder_is_no_artifact(tmp_path):
    refused(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_truncated_anywhere(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    refused(path)


def test_every_flipped_byte_is_noticed(path):
    content = path.read_bytes()
    header = struct.unpack("<Q", content[:8])[0] + 8
    rng = np.random.default_rng(1)
    places = {*rng.integers(0, header, 150).tolist(), *range(header, len(content))}
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        refused(path)


def test_a_swapped_tensor_is_noticed(path):
    edited = tensors(path)
    edited["stage0.shifts"] = edited["stage0.shifts"][::-1].copy()
    save_file(edited, path, {"adakern": json.dumps(metadata(path))})
    assert "digest" in refused(path)


def test_an_edited_report_is_noticed(path):
    body = metadata(path)
    body["report"]["scale_error_max"] = 0.0
    save_file(tensors(path), path, {"adakern": json.dumps(body)})
    assert "digest" in refused(path)


def test_another_version(path):
    body = metadata(path) | {"version": ARTIFACT_VERSION + 1}
    save_file(tensors(path), path, {"adakern": json.dumps(body)})
    assert f"artifact version {ARTIFACT_VERSION + 1}" in refused(path)


def test_another_contract(monkeypatch, path):
    with monkeypatch.context() as patch:
        patch.setattr("adakern.artifact.spec_digest", lambda shape: bytes(16))
        save(path, artifact())
    line = refused(path)
    assert bytes(16).hex() in line
    assert artifact().digest.hex() in line


def test_a_float_model_says_quantise_first(tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_file({"lift.weight": np.zeros(3, np.float32)}, path, {"format": "adakern-encoder"})
    assert "quantise first" in refused(path)


def test_any_other_file_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text(">sequence\nACGU\n")
    refused(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_floats_are_not_saved(path, value):
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match=r"non-finite values in spn\.gain"):
        save(path, artifact(float_parameters={"spn.gain": np.array([1, value], np.float32)}))
    assert path.read_bytes() == before


def test_formats_must_fit_the_stages(path):
    with pytest.raises(ArtifactError, match="2 formats for 2 stages"):
        save(path, artifact(fractions=(4, 5)))


@pytest.mark.parametrize("step", ["pathlib.Path.write_bytes", "os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_old_artifact(monkeypatch, path, step):
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(step, full)
    with pytest.raises(ArtifactError, match="No space left on device"):
        save(path, artifact(seed=1))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert load(path).parameters == artifact().parameters


def test_maps_round_half_up_and_saturate():
    values = np.array([-9.0, -0.15625, -0.09375, -0.03125, 0.03125, 0.09375, 7.9, 8.5])
    signed = quantise_maps(values, Format(8, signed=True, frac=4))
    assert signed.dtype == np.int8
    np.testing.assert_array_equal(signed, [-128, -2, -1, 0, 1, 2, 126, 127])
    unsigned = quantise_maps(values, Format(8, signed=False, frac=5))
    assert unsigned.dtype == np.uint8
    np.testing.assert_array_equal(unsigned, [0, 0, 0, 0, 1, 3, 253, 255])


def test_artifacts_differ_in_bytes_where_they_differ(tmp_path, path):
    other = dataclasses.replace(artifact(), fractions=(4, 5, 7))
    save(tmp_path / "other.safetensors", other)
    assert (tmp_path / "other.safetensors").read_bytes() != path.read_bytes()


def test_kernel_modulation_network_comes_back(tmp_path):
    path = tmp_path / "akm.safetensors"
    original = akm_artifact()
    save(path, original)
    again = load(path)
    assert again.parameters == original.parameters
    assert again.shape == original.shape
    assert (again.fractions, again.network, again.encoder) == ((8, 5, 4, 17), original.network, None)
    assert {name: values.shape for name, values in again.float_parameters.items()} == {
        "convs.0.r": (),
        "convs.1.r": (3,),
    }
    assert again.digest == original.digest == spec_digest(original.shape)
    assert again.input_format == Format(8, False, 8)
    first = path.read_bytes()
    save(path, again)
    assert path.read_bytes() == first
