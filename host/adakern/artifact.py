"""The model artifact: one safetensors file with everything that a quantised model is.

Tensors: the integers (``stage0.weights`` …, ``head.gain`` …, ``kernel.base`` …) and, below
``float.``, the float parameters that they came from. Metadata: one JSON object (key ``adakern``)
with the artifact version, the spec digest, shape, formats, encoder configuration, the quantisation
report, and a SHA-256 over all of it. Integers and metadata only, no code.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from adakern_spec.digest import spec_digest
from adakern_spec.errors import AdakernError, ArtifactError
from adakern_spec.network import SpnShape
from adakern_spec.numbers import ACTIVATION_BITS, Format

from .files import write_atomically
from .parameters import SpnParameters

ARTIFACT_VERSION = 1
"""Counts layouts of the file; another version is refused, never guessed at."""

_METADATA_KEY = "adakern"
_FLOAT_PREFIX = "float."
_QUANTISE_AGAIN = "make it again with `adakern quantize`"

_HEAD = {
    "head.gain": ("gain", np.int16),
    "head.gain_shift": ("gain_shift", np.uint8),
    "head.offset": ("offset", np.uint16),
    "kernel.base": ("base", np.uint8),
    "kernel.minimum": ("k_min", np.uint16),
    "kernel.maximum": ("k_max", np.uint16),
}
"""Tensor name: field of SpnParameters, dtype in the file."""

_STAGE = {"weights": np.int8, "biases": np.int32, "shifts": np.uint8}
"""Per-stage field of SpnParameters: dtype in the file."""


@dataclass(frozen=True, eq=False)
class Artifact:
    """A quantised scale prediction network and what the host needs around it.

    Parameters
    ----------
    parameters : SpnParameters
        The integers that run on a device.
    fractions : tuple of int
        Fraction bits of the activations: the input's first, then each stage's output.
    float_parameters : mapping of str to float32 array
        Parameters of the float model, named as in its state_dict; the SPN's start with ``spn.``.
        With ``encoder`` they are the whole encoder's, else the SPN's alone.
    encoder : mapping or None
        Configuration of the AdaptiveEncoder around the SPN (its ``to_json``).
    report : mapping
        The quantisation report (`adakern.report.quantisation.QuantisationReport.to_json`).
    """

    parameters: SpnParameters
    fractions: tuple[int, ...]
    float_parameters: Mapping[str, np.ndarray]
    encoder: Mapping[str, Any] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> SpnShape:
        return self.parameters.shape

    @property
    def input_format(self) -> Format:
        """Format of the maps that a device takes: value = q · 2^-frac."""
        return Format(ACTIVATION_BITS, self.shape.input_signed, self.fractions[0])

    @property
    def output_formats(self) -> tuple[Format, ...]:
        """Format of each stage's output."""
        return tuple(
            dataclasses.replace(stage.output_format, frac=fraction)
            for stage, fraction in zip(self.shape.stages, self.fractions[1:], strict=True)
        )

    @property
    def digest(self) -> bytes:
        """Spec digest: a device must be built for the same."""
        return spec_digest(self.shape)


def quantise_maps(values: np.ndarray, fmt: Format) -> np.ndarray:
    """Integers of float maps in ``fmt``, rounded half up and saturated, as a device takes them."""
    scaled = np.floor(np.asarray(values, np.float64) * 2.0**fmt.frac + 0.5)
    return np.clip(scaled, fmt.min, fmt.max).astype(np.int8 if fmt.signed else np.uint8)


def save(path: str | os.PathLike[str], artifact: Artifact) -> None:
    """Write the artifact atomically: on any failure the file that was there stays.

    The same artifact always gives the same bytes. Raises ArtifactError for non-finite floats, for
    inconsistent contents and when the file cannot be written (disk full, no permission).
    """
    where = os.fspath(path)
    _check(artifact, where)
    tensors = _tensors(artifact)
    body = {
        "kind": "artifact",
        "version": ARTIFACT_VERSION,
        "spec_digest": artifact.digest.hex(),
        "shape": dataclasses.asdict(artifact.shape),
        "fractions": list(artifact.fractions),
        "encoder": artifact.encoder,
        "report": artifact.report,
    }
    metadata = _canonical(body | {"content_digest": _content_digest(tensors, body)})
    content = to_safetensors(tensors, metadata={_METADATA_KEY: metadata})
    try:
        write_atomically(Path(path), lambda temporary: _write(temporary, content))
    except AdakernError as error:
        raise ArtifactError(error.what, error.where, error.mend) from error


def load(path: str | os.PathLike[str]) -> Artifact:
    """Read and verify an artifact; needs no torch.

    Raises ArtifactError for a file that is missing, truncated, tampered with, of another version, made
    for another contract (spec digest), inconsistent, or not an artifact at all.
    """
    where = os.fspath(path)
    tensors, metadata = _read(Path(path), where)
    body = _parsed(metadata, where)
    if body.get("kind") != "artifact":
        raise _not_an_artifact(where)
    if body.get("version") != ARTIFACT_VERSION:
        raise ArtifactError(
            f"artifact version {body.get('version')}, this adakern reads {ARTIFACT_VERSION}",
            where,
            _QUANTISE_AGAIN,
        )
    recorded = body.pop("content_digest", None)
    if recorded != _content_digest(tensors, body):
        raise ArtifactError("content does not match its digest: damaged or edited", where, _QUANTISE_AGAIN)
    try:
        shape = SpnShape(**body["shape"] | {"channels": tuple(body["shape"]["channels"])})
        artifact = Artifact(
            parameters=_parameters(shape, tensors),
            fractions=tuple(body["fractions"]),
            float_parameters={
                name.removeprefix(_FLOAT_PREFIX): tensor
                for name, tensor in tensors.items()
                if name.startswith(_FLOAT_PREFIX)
            },
            encoder=body["encoder"],
            report=body["report"],
        )
    except AdakernError as error:
        raise ArtifactError(f"{error.where}: {error.what}", where, _QUANTISE_AGAIN) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"incomplete: {error!r}", where, _QUANTISE_AGAIN) from error
    if artifact.digest.hex() != body["spec_digest"]:
        raise ArtifactError(
            f"made for spec digest {body['spec_digest']}, this adakern's is {artifact.digest.hex()}",
            where,
            _QUANTISE_AGAIN,
        )
    _check(artifact, where)
    return artifact


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _read(path: Path, where: str) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise ArtifactError(what, where, "give the path of an artifact made by `adakern quantize`")
    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise ArtifactError(
            f"not a readable safetensors file ({error}): truncated, damaged or of another kind",
            where,
            _QUANTISE_AGAIN,
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"cannot be read ({error})", where, _QUANTISE_AGAIN) from error


def _not_an_artifact(where: str) -> ArtifactError:
    return ArtifactError(
        "not a quantised model",
        where,
        "quantise first: `adakern quantize` makes an artifact of a trained model",
    )


def _parsed(metadata: Mapping[str, str], where: str) -> dict[str, Any]:
    try:
        body = json.loads(metadata[_METADATA_KEY])
    except (KeyError, ValueError):
        raise _not_an_artifact(where) from None
    if not isinstance(body, dict):
        raise _not_an_artifact(where)
    return body


def _tensors(artifact: Artifact) -> dict[str, np.ndarray]:
    parameters = artifact.parameters
    tensors = {
        name: np.ascontiguousarray(getattr(parameters, field_name), dtype)
        for name, (field_name, dtype) in _HEAD.items()
    }
    for stage in range(len(artifact.shape.stages)):
        for field_name, dtype in _STAGE.items():
            values = getattr(parameters, field_name)[stage]
            tensors[f"stage{stage}.{field_name}"] = np.ascontiguousarray(values, dtype)
    for name, values in artifact.float_parameters.items():
        tensors[_FLOAT_PREFIX + name] = np.ascontiguousarray(values, np.float32)
    return tensors


def _parameters(shape: SpnShape, tensors: Mapping[str, np.ndarray]) -> SpnParameters:
    stages = range(len(shape.stages))
    fields: dict[str, Any] = {
        field_name: tuple(tensors[f"stage{stage}.{field_name}"].astype(np.int64) for stage in stages)
        for field_name in _STAGE
    }
    fields |= {field_name: tensors[name].astype(np.int64) for name, (field_name, _) in _HEAD.items()}
    return SpnParameters(shape=shape, **fields)


def _check(artifact: Artifact, where: str) -> None:
    if len(artifact.fractions) != len(artifact.shape.stages) + 1:
        raise ArtifactError(
            f"{len(artifact.fractions)} formats for {len(artifact.shape.stages)} stages",
            where,
            _QUANTISE_AGAIN,
        )
    for name, values in artifact.float_parameters.items():
        if not np.isfinite(values).all():
            raise ArtifactError(
                f"non-finite values in {name}", where, "train again with a lower learning rate"
            )


def _canonical(body: Mapping[str, Any]) -> str:
    """JSON with one spelling per content, so that a digest over it is well defined."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _content_digest(tensors: Mapping[str, np.ndarray], body: Mapping[str, Any]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all tensors, and over the metadata."""
    digest = hashlib.sha256(_canonical(body).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(_canonical({"name": name, "dtype": tensor.dtype.str, "shape": tensor.shape}).encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
