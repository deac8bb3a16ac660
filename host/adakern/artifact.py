"""The model artifact: one safetensors file with everything that a quantised model is.

Tensors: the integers (``stage0.weights`` …, then a scale prediction network's ``head.gain`` …,
``kernel.base`` … or a kernel modulation network's ``stage0.length_taps`` …, ``classifier.weights`` …) and,
below ``float.``, the float parameters that they came from. Metadata: one JSON object (key ``adakern``)
with the artifact version, the spec digest, shape, formats, configuration of the float model, the
quantisation report, and a SHA-256 over all of it. Integers and metadata only, no code.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from adakern_spec.akm import AkmLayer, AkmShape, Downsample
from adakern_spec.digest import spec_digest
from adakern_spec.errors import AdakernError, ArtifactError
from adakern_spec.network import SpnShape
from adakern_spec.networks import Shape
from adakern_spec.numbers import ACTIVATION_BITS, Format

from .akm_parameters import AkmParameters
from .files import write_atomically
from .parameter_block import Parameters
from .parameters import SpnParameters

ARTIFACT_VERSION = 1
"""Counts layouts of the file; another version is refused, never guessed at."""

_METADATA_KEY = "adakern"
_FLOAT_PREFIX = "float."
_QUANTISE_AGAIN = "make it again with `adakern quantize`"


@dataclass(frozen=True)
class _Kind:
    """How one kind of network lies in the file.

    ``stage`` and ``head``: dtype of each field of ``parameters`` that has one array per stage, and of the
    others with their tensors' names. ``shape`` makes the shape of its JSON.
    """

    parameters: type[Any]
    shape: Callable[[Mapping[str, Any]], Shape]
    stage: Mapping[str, type[np.generic]]
    head: Mapping[str, tuple[str, type[np.generic]]]


def _spn_shape(values: Mapping[str, Any]) -> SpnShape:
    return SpnShape(**{**values, "channels": tuple(values["channels"])})


def _akm_shape(values: Mapping[str, Any]) -> AkmShape:
    layers = tuple(
        AkmLayer(**{**layer, "downsample": Downsample(layer["downsample"])}) for layer in values["layers"]
    )
    return AkmShape(**{**values, "layers": layers})


_STAGE: dict[str, type[np.generic]] = {"weights": np.int8, "biases": np.int32, "shifts": np.uint8}

_SPN = _Kind(
    SpnParameters,
    _spn_shape,
    _STAGE,
    {
        "head.gain": ("gain", np.int16),
        "head.gain_shift": ("gain_shift", np.uint8),
        "head.offset": ("offset", np.uint16),
        "kernel.base": ("base", np.uint8),
        "kernel.minimum": ("k_min", np.uint16),
        "kernel.maximum": ("k_max", np.uint16),
    },
)
_AKM = _Kind(
    AkmParameters,
    _akm_shape,
    {**_STAGE, "length_taps": np.uint16, "height_taps": np.uint16, "borders": np.uint8},
    {"classifier.weights": ("class_weights", np.int8), "classifier.biases": ("class_biases", np.int32)},
)
_KINDS = {"spn": _SPN, "akm": _AKM}
"""By the name in the metadata; a file without one holds a scale prediction network."""

P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True, eq=False)
class Artifact(Generic[P]):
    """A quantised network and what the host needs around it.

    Parameters
    ----------
    parameters : SpnParameters or AkmParameters
        The integers that run on a device.
    fractions : tuple of int
        Fraction bits: the input's first, then each conv stage's output, then a kernel modulation
        network's logits.
    float_parameters : mapping of str to float32 array
        Parameters of the float model, named as in its state_dict; the SPN's start with ``spn.``.
        With ``encoder`` they are the whole encoder's, else the SPN's alone, or the AKM network's.
    encoder : mapping or None
        Configuration of the AdaptiveEncoder around the SPN (its ``to_json``).
    report : mapping
        The quantisation report (`adakern.report.quantisation.QuantisationReport.to_json`).
    network : mapping or None
        Configuration of the AkmNetwork (its ``to_json``).
    """

    parameters: P
    fractions: tuple[int, ...]
    float_parameters: Mapping[str, np.ndarray]
    encoder: Mapping[str, Any] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] | None = None

    @property
    def shape(self) -> Any:
        """SpnShape or AkmShape."""
        return self.parameters.shape

    @property
    def input_format(self) -> Format:
        """Format of the maps that a device takes: value = q · 2^-frac."""
        return Format(ACTIVATION_BITS, self.shape.input_signed, self.fractions[0])

    @property
    def output_formats(self) -> tuple[Format, ...]:
        """Format of each conv stage's output."""
        return tuple(
            dataclasses.replace(stage.output_format, frac=fraction)
            for stage, fraction in zip(self.shape.stages, self.fractions[1:], strict=False)
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
    if _kind(artifact) is _AKM:
        body |= {"model": "akm", "network": artifact.network}
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
        kind = _KINDS[body.get("model", "spn")]
        artifact: Artifact[Any] = Artifact(
            parameters=_parameters(kind, body["shape"], tensors),
            fractions=tuple(body["fractions"]),
            float_parameters={
                name.removeprefix(_FLOAT_PREFIX): tensor
                for name, tensor in tensors.items()
                if name.startswith(_FLOAT_PREFIX)
            },
            encoder=body["encoder"],
            report=body["report"],
            network=body.get("network"),
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


def _kind(artifact: Artifact) -> _Kind:
    return _AKM if isinstance(artifact.shape, AkmShape) else _SPN


def _tensors(artifact: Artifact) -> dict[str, np.ndarray]:
    parameters, kind = artifact.parameters, _kind(artifact)
    tensors = {
        name: np.ascontiguousarray(getattr(parameters, field_name), dtype)
        for name, (field_name, dtype) in kind.head.items()
    }
    for stage in range(len(artifact.shape.stages)):
        for field_name, dtype in kind.stage.items():
            values = getattr(parameters, field_name)[stage]
            tensors[f"stage{stage}.{field_name}"] = np.ascontiguousarray(values, dtype)
    for name, values in artifact.float_parameters.items():
        tensors[_FLOAT_PREFIX + name] = np.array(values, np.float32, order="C")
    return tensors


def _parameters(kind: _Kind, values: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Parameters:
    shape = kind.shape(values)
    stages = range(len(shape.stages))
    fields: dict[str, Any] = {
        field_name: tuple(tensors[f"stage{stage}.{field_name}"].astype(np.int64) for stage in stages)
        for field_name in kind.stage
    }
    fields |= {field_name: tensors[name].astype(np.int64) for name, (field_name, _) in kind.head.items()}
    parameters: Parameters = kind.parameters(shape=shape, **fields)
    return parameters


def _check(artifact: Artifact, where: str) -> None:
    answers = 1 if _kind(artifact) is _AKM else 0
    if len(artifact.fractions) != len(artifact.shape.stages) + 1 + answers:
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
