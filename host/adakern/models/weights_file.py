"""Float models on disk: weights and configuration in one safetensors file. No code, no pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from adakern.files import write_atomically
from adakern.tensor_file import read_tensors
from adakern_spec.errors import AdakernError, ArtifactError

VERSION = "1"


@dataclass(frozen=True)
class WeightsFile:
    """A file's contents: ``config`` as the model's own JSON, and its ``tensors`` by their names."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]

    def save(self, path: Path, format: str) -> None:
        """Write atomically; the header's metadata holds ``format``, ``version`` and ``config``.

        Raises AdakernError for non-finite weights and when the system refuses the file.
        """
        tensors = {name: value.detach().contiguous() for name, value in self.tensors.items()}
        if (name := _not_finite(tensors)) is not None:
            raise AdakernError(f"non-finite weights in {name}", str(path), "train with a lower learning rate")
        metadata = {"format": format, "version": VERSION, "config": json.dumps(self.config)}
        write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))

    @classmethod
    def load(cls, path: Path, format: str, mend: str) -> "WeightsFile":
        """Contents of a file of this ``format``; ``mend``: what to give instead of one that is not readable.

        Raises ArtifactError: absent, truncated, another format or version, non-finite weights.
        """
        tensors, metadata = read_tensors(path, "pt", format, VERSION, mend)
        if (name := _not_finite(tensors)) is not None:
            raise ArtifactError(f"non-finite weights in {name}", str(path), "train it again")
        try:
            config = json.loads(metadata["config"])
        except (KeyError, ValueError) as error:
            raise inconsistent(path, error) from None
        return cls(config, tensors)


def file_format(path: Path) -> str | None:
    """Format that a file claims to have; None where it claims none."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format")
    except (OSError, SafetensorError):
        return None


def inconsistent(path: Path, error: Exception) -> ArtifactError:
    """For weights that do not fit the configuration beside them."""
    return ArtifactError(f"inconsistent contents ({error})", str(path), "write the file again")


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    return next((name for name, value in tensors.items() if not torch.isfinite(value).all()), None)
