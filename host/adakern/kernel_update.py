"""What a device adapts with: a network's r and s, and its classifier where that was adapted too. No torch."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save as to_safetensors

from adakern_spec.errors import AdakernError, ArtifactError

from .files import write_atomically
from .tensor_file import read_tensors

if TYPE_CHECKING:
    from .models import AkmNetwork

FORMAT = "adakern-kernel-update"
VERSION = "1"


def digest_of_rest(parameters: Mapping[str, np.ndarray], with_head: bool) -> str:
    """SHA-256 over what an update of an AKM network leaves as it is: conv weights and biases, and the
    classifier's unless the update carries it (``with_head``).

    ``parameters``: the network's, as in its state_dict; their float32 bytes count.
    """
    digest = hashlib.sha256()
    for name in sorted(parameters):
        if name.endswith((".r", ".s")) or (with_head and name.startswith("classifier.")):
            continue
        values = np.asarray(parameters[name], np.float32)
        digest.update(f"{name} {values.shape} ".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class KernelUpdate:
    """r and s of every layer, float32, [channels] or a single number each; layer by layer.

    ``class_weights`` [classes, features] and ``class_biases`` [classes] replace the classifier's, or are
    None where it stays. ``classes`` name its outputs. ``network`` is the `digest_of_rest` of the network that
    it adapts, empty where that is not known. Raises AdakernError where a value is not finite or the layers
    of r and s do not match.
    """

    r: tuple[np.ndarray, ...]
    s: tuple[np.ndarray, ...]
    class_weights: np.ndarray | None = None
    class_biases: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    network: str = ""

    @property
    def carries_head(self) -> bool:
        """Whether it replaces the classifier."""
        return self.class_weights is not None

    def __post_init__(self) -> None:
        where = "kernel update"
        if [values.shape for values in self.r] != [values.shape for values in self.s] or not self.r:
            raise AdakernError("r and s of different layers", where, "give one of each per channel or layer")
        if (self.class_weights is None) is not (self.class_biases is None):
            raise AdakernError("half a classifier", where, "give its weights and its biases, or neither")
        for name, values in self._tensors().items():
            if not np.isfinite(values).all():
                raise AdakernError(f"{name} is not finite", where, "adapt with other images or smaller rates")

    def _tensors(self) -> dict[str, np.ndarray]:
        layers = {
            f"layer{index}.{name}": values
            for name in ("r", "s")
            for index, values in enumerate(getattr(self, name))
        }
        head = {"class_weights": self.class_weights, "class_biases": self.class_biases}
        chosen = layers | {name: values for name, values in head.items() if values is not None}
        return {name: np.ascontiguousarray(values, np.float32) for name, values in chosen.items()}

    @classmethod
    def of(cls, network: "AkmNetwork", with_head: bool, classes: tuple[str, ...] = ()) -> "KernelUpdate":
        """r and s of an adapted network, with its classifier where that was adapted."""
        values = {name: value.numpy().copy() for name, value in network.state_dict().items()}
        layers = range(len(network.convs))
        return cls(
            r=tuple(values[f"convs.{index}.r"] for index in layers),
            s=tuple(values[f"convs.{index}.s"] for index in layers),
            class_weights=values["classifier.weight"] if with_head else None,
            class_biases=values["classifier.bias"] if with_head else None,
            classes=classes,
            network=digest_of_rest(values, with_head),
        )

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically."""
        metadata = {"format": FORMAT, "version": VERSION, "classes": json.dumps(self.classes)}
        metadata |= {"network": self.network} if self.network else {}
        content = to_safetensors(self._tensors(), metadata)
        write_atomically(path, lambda temporary: temporary.write_bytes(content))

    @classmethod
    def load(cls, path: Path) -> "KernelUpdate":
        """Raises ArtifactError: absent, truncated, another format, inconsistent or non-finite contents."""
        tensors, metadata = read_tensors(path, "np", FORMAT, VERSION, "give what adakern adapt wrote")
        try:
            layers = range(sum(name.endswith(".r") for name in tensors))
            found = cls(
                r=tuple(tensors[f"layer{index}.r"] for index in layers),
                s=tuple(tensors[f"layer{index}.s"] for index in layers),
                class_weights=tensors.get("class_weights"),
                class_biases=tensors.get("class_biases"),
            )
            classes = tuple(json.loads(metadata["classes"]))
            return dataclasses.replace(found, classes=classes, network=metadata.get("network", ""))
        except (KeyError, TypeError, ValueError, AdakernError) as error:
            raise ArtifactError(f"inconsistent contents ({error})", str(path), "adapt again") from None
