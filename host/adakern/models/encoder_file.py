"""Encoder files: float weights and configuration in one safetensors file."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from adakern.files import write_atomically
from adakern_spec.errors import AdakernError, ArtifactError

from .encoder import AdaptiveEncoder, EncoderConfig

FORMAT = "adakern-encoder"
VERSION = "1"


def save_encoder(path: Path, encoder: AdaptiveEncoder) -> None:
    """Write weights and configuration; atomic, an existing file is replaced only by a whole one.

    The header's metadata holds ``format``, ``version`` and ``config`` (JSON). No code, no pickle.
    Raises AdakernError for non-finite weights and when the system refuses the file.
    """
    tensors = {name: value.detach().contiguous() for name, value in encoder.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise AdakernError(f"non-finite weights in {name}", str(path), "train with a lower learning rate")
    metadata = {"format": FORMAT, "version": VERSION, "config": json.dumps(encoder.config.to_json())}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def load_encoder(path: Path) -> AdaptiveEncoder:
    """Encoder of a file that ``save_encoder`` wrote, in evaluation mode.

    Raises ArtifactError: absent, truncated, another format or version, weights that do not fit the
    configuration, non-finite weights.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"not readable ({error})", str(path), "give a trained encoder file") from None
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise ArtifactError(
            f"format {metadata.get('format')} version {metadata.get('version')}",
            str(path),
            f"give a file of format {FORMAT} version {VERSION}",
        )
    try:
        encoder = AdaptiveEncoder(EncoderConfig.from_json(json.loads(metadata["config"])))
        encoder.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, AdakernError) as error:
        raise ArtifactError(f"inconsistent contents ({error})", str(path), "write the file again") from None
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise ArtifactError(f"non-finite weights in {name}", str(path), "train it again")
    return encoder.eval()
