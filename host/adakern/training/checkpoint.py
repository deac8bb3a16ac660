"""Checkpoints: all that a run needs to go on as if it had never stopped, without pickles."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from adakern.files import write_atomically
from adakern_spec.errors import AdakernError, ArtifactError, InputError

FORMAT = "adakern-checkpoint"

CHECKPOINT = "checkpoint.safetensors"
"""Name of a run's, in its folder."""


class TrainingStopped(AdakernError):
    """Training that Ctrl-C ended; everything up to the last whole epoch or stretch is in the checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """State after a whole epoch or stretch: ``tensors`` of model and optimiser, and ``run``.

    ``run`` is JSON: what the run was started with and its ``curve`` so far.
    """

    tensors: dict[str, Tensor]
    run: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module, optimiser: Optimizer, run: dict[str, Any]) -> "Checkpoint":
        tensors = {f"model.{name}": value.detach().clone() for name, value in model.state_dict().items()}
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value.clone() for name, value in state.items()}
        return cls(tensors, run)

    def restore(self, model: nn.Module, optimiser: Optimizer) -> None:
        """Put the state back into a model and an optimiser of the same making."""
        prefix = "model."
        model.load_state_dict(
            {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}
        )
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in self.tensors.items():
            if name.startswith("optimiser."):
                _, index, slot = name.split(".")
                state.setdefault(int(index), {})[slot] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})

    @classmethod
    def resume(
        cls, out: Path, identity: dict[str, Any], model: nn.Module, optimiser: Optimizer
    ) -> "Checkpoint | None":
        """Go on where the run in the folder ``out`` was; its checkpoint, None where there is none.

        Raises InputError where that run was started with something else than ``identity`` says, with both
        values of the first field that differs.
        """
        if not (out / CHECKPOINT).exists():
            return None
        found = cls.load(out / CHECKPOINT)
        for name, value in identity.items():
            if (known := found.run.get(name)) != value:
                raise InputError(
                    f"holds a run with {_difference(name, known, value)}",
                    str(out),
                    "give the same again, use another folder or remove this one",
                )
        found.restore(model, optimiser)
        return found

    def save(self, path: Path) -> None:
        """Write atomically: a run killed while it writes keeps the checkpoint before."""
        metadata = {"format": FORMAT, "run": json.dumps(self.run)}
        write_atomically(path, lambda temporary: save_file(self.tensors, temporary, metadata))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a checkpoint; ArtifactError for a file that is none."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise ArtifactError(
                        f"format {metadata.get('format')}", str(path), "remove it to start anew"
                    )
                tensors = {name: torch.clone(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            return cls(tensors, json.loads(metadata["run"]))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ArtifactError(f"unreadable ({error})", str(path), "remove it to start anew") from None


def _difference(name: str, known: Any, wanted: Any) -> str:
    """What part of a run's identity is another: its first field that differs, with both values."""
    if isinstance(known, dict) and isinstance(wanted, dict):
        for field, value in wanted.items():
            if known.get(field) != value:
                return f"{field} {known.get(field)!r}, not {value!r}"
    return f"other {name}"
