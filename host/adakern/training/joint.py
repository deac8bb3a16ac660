"""Joint training of an encoder and its scale prediction network."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import AdamW

from adakern.data import SequenceRecord, alphabet_named, collate, collate_targets
from adakern.models import AdaptiveEncoder, EncoderConfig, ScalePredictionNetwork, predict, save_encoder
from adakern_spec.errors import AdakernError, InputError
from adakern_spec.numbers import SCALE

from .checkpoint import CHECKPOINT, Checkpoint, TrainingStopped
from .curve import draw_curve, save_curve
from .objectives import metrics, task_loss
from .progress import progress_bar, summary
from .settings import TrainingSettings

ENCODER = "encoder.safetensors"

_CENTRING_RECORDS = 256
_EPOCH_SEEDS = 1_000_003
"""Seeds of two runs' epochs coincide only if the runs' own seeds differ by this many epochs."""


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: the encoder, its file, and the curve (one entry per epoch, as in curve.json)."""

    encoder: AdaptiveEncoder
    path: Path
    curve: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Batch:
    maps: Tensor
    lengths: Tensor
    targets: Tensor


def _batch(config: EncoderConfig, records: Sequence[SequenceRecord]) -> _Batch:
    maps, lengths = collate(records, alphabet_named(config.alphabet))
    per_position = config.task == "position-regression"
    targets, _ = collate_targets(records, maps.shape[3] if per_position else None)
    columns = 1 if config.task == "classification" else config.outputs
    if targets.shape[-1] != columns:
        raise InputError(f"{targets.shape[-1]} target columns", "training records", f"give {columns}")
    if config.task == "classification" and not np.isin(targets, np.arange(config.outputs)).all():
        raise InputError("class index out of range", "training records", f"use 0 to {config.outputs - 1}")
    return _Batch(torch.from_numpy(maps), torch.from_numpy(lengths), torch.from_numpy(targets))


def _require_measured(config: EncoderConfig, records: Sequence[SequenceRecord], where: str) -> None:
    """Raise InputError for a target column in which no record has a measured value."""
    found = [record.targets for record in records if record.targets is not None]
    rows = [values.reshape(-1, config.outputs) for values in found if values.shape[-1] == config.outputs]
    if config.task == "classification" or not rows:
        return
    measured = np.any([(~np.isnan(values)).any(axis=0) for values in rows], axis=0)
    if not measured.all():
        column = int(np.argmin(measured))
        name = config.output_names[column] if config.output_names else column + 1
        raise InputError(f"no measured value in target column {name}", where, "leave the column out")


def evaluate(
    encoder: AdaptiveEncoder, records: Sequence[SequenceRecord], batch_size: int = 64
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Figures of merit over all records, and the mean scales (height, length) over records and iterations."""
    outputs, targets, scales = [], [], []
    per_position = encoder.config.task == "position-regression"
    for start in range(0, len(records), batch_size):
        batch = _batch(encoder.config, records[start : start + batch_size])
        answer, trace = predict(encoder, batch.maps, batch.lengths)
        measured = (~batch.targets.isnan()).any(dim=2) if per_position else slice(None)
        outputs.append(answer[measured].numpy())
        targets.append(batch.targets[measured].numpy())
        scales.append(torch.stack(trace.scales).mean(dim=0).numpy())
    figures = metrics(encoder.config.task, np.concatenate(outputs), np.concatenate(targets))
    return figures, np.concatenate(scales).mean(axis=0, dtype=np.float64)


def train(
    config: EncoderConfig,
    records: Sequence[SequenceRecord],
    out: Path,
    settings: TrainingSettings,
    *,
    validation: Sequence[SequenceRecord] = (),
    progress: bool = False,
) -> TrainingResult:
    """Train an encoder on records with targets; everything it writes lies in the folder ``out``.

    Writes ``checkpoint.safetensors`` and ``curve.json`` after every epoch, at the end ``curve.png`` and
    ``encoder.safetensors``. A folder with a checkpoint of the same run (configuration, settings and
    data) is resumed and ends, at the same number of threads, with bitwise the same weights as a run
    that was never interrupted; the same seed always gives the same weights. ``validation`` records
    only measure.
    Raises InputError: no records, unfit targets, a column without a measured value, a folder with
    another run; AdakernError: non-finite loss; TrainingStopped on Ctrl-C.
    """
    if not records:
        raise InputError("no records", "training", "give at least one")
    if config.height != alphabet_named(config.alphabet).height:
        raise InputError(
            f"{config.height} rows for alphabet {config.alphabet}",
            "encoder configuration",
            f"use {alphabet_named(config.alphabet).height}",
        )
    _require_measured(config, records, "training records")
    _require_measured(config, validation, "validation records")
    with torch.random.fork_rng(devices=[]):
        run = _Run(config, list(records), list(validation), out, settings)
        try:
            with progress_bar(progress) as bar:
                task = bar.add_task("epoch", total=settings.epochs, completed=len(run.curve), figures="")
                while len(run.curve) < settings.epochs:
                    entry = run.epoch()
                    bar.update(task, advance=1, figures=summary(entry["loss"], entry.get("validation")))
        except KeyboardInterrupt:
            if run.curve:
                draw_curve(out / "curve.png", run.curve)
            raise TrainingStopped(
                f"stopped after epoch {len(run.curve)} of {settings.epochs}",
                str(out),
                "run it again to resume",
            ) from None
    draw_curve(out / "curve.png", run.curve)
    save_encoder(out / ENCODER, run.encoder)
    return TrainingResult(run.encoder.eval(), out / ENCODER, tuple(run.curve))


class _Run:
    """State of one training run between epochs."""

    def __init__(
        self,
        config: EncoderConfig,
        records: list[SequenceRecord],
        validation: list[SequenceRecord],
        out: Path,
        settings: TrainingSettings,
    ) -> None:
        self.records, self.validation = records, validation
        self.out, self.settings = out, settings
        torch.manual_seed(settings.seed)
        self.encoder = AdaptiveEncoder(config)
        self.optimiser = AdamW(_parameter_groups(self.encoder, settings), weight_decay=settings.weight_decay)
        # As JSON gives it back: tuples are lists.
        self.identity = json.loads(
            json.dumps(
                {
                    "config": config.to_json(),
                    "settings": settings.to_json(),
                    "records": _digest(records),
                    "validation": _digest(validation),
                }
            )
        )
        found = Checkpoint.resume(out, self.identity, self.encoder, self.optimiser)
        self.curve: list[dict[str, Any]] = found.run["curve"] if found is not None else []
        if found is None:
            self._centre()

    def _centre(self) -> None:
        """Let the SPN start with scales that differ between maps (ScalePredictionNetwork.centre)."""
        if not isinstance(self.encoder.spn, ScalePredictionNetwork):
            return
        batch = _batch(self.encoder.config, self.records[:_CENTRING_RECORDS])
        _, trace = predict(self.encoder, batch.maps, batch.lengths)
        self.encoder.spn.centre(torch.cat(trace.maps), batch.lengths.repeat(len(trace.maps)))

    def epoch(self) -> dict[str, Any]:
        """Train one epoch, then write checkpoint and curve; returns the curve's new entry."""
        started = time.monotonic()
        number = len(self.curve)
        # All chance within an epoch follows from this, so a checkpoint holds no generator state.
        torch.manual_seed(self.settings.seed * _EPOCH_SEEDS + number + 1)
        steps = -(-len(self.records) // self.settings.batch_size)
        self.encoder.train()
        total = 0.0
        for step, batch in enumerate(self._batches()):
            rate = self.settings.rate(number * steps + step, self.settings.epochs * steps)
            total += self._step(batch, rate, f"epoch {number + 1}, batch {step + 1}")
        figures, scales = evaluate(self.encoder, self.validation or self.records[:_CENTRING_RECORDS])
        entry: dict[str, Any] = {"epoch": number + 1, "loss": total / steps, "scales": scales.tolist()}
        if self.validation:
            entry["validation"] = figures
        entry["seconds"] = time.monotonic() - started
        self.curve.append(entry)
        Checkpoint.of(self.encoder, self.optimiser, {**self.identity, "curve": self.curve}).save(
            self.out / CHECKPOINT
        )
        save_curve(self.out / "curve.json", self.curve)
        return entry

    def _batches(self) -> Iterator[_Batch]:
        order = torch.randperm(len(self.records)).tolist()
        for start in range(0, len(order), self.settings.batch_size):
            chosen = order[start : start + self.settings.batch_size]
            yield _batch(self.encoder.config, [self.records[index] for index in chosen])

    def _step(self, batch: _Batch, rate: float, where: str) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate_factor"]
        spn = self.encoder.spn
        outputs = self.encoder(batch.maps, batch.lengths)
        loss = task_loss(self.encoder.config.task, outputs, batch.targets)
        value = float(loss.detach())
        if isinstance(spn, ScalePredictionNetwork):
            loss = loss + self.settings.spn_penalty_weight * spn.regularisation(self.settings.spn_penalty)
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), self.settings.clip)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise AdakernError(
                f"loss {float(loss.detach())}, gradient norm {float(norm)}",
                f"training, {where}",
                "lower the learning rate or check the targets",
            )
        self.optimiser.step()
        if isinstance(spn, ScalePredictionNetwork):
            # The hardware's format of the offset is unsigned (design part 1, "Scale head").
            spn.offset.data.clamp_(0, SCALE.value(SCALE.max))
        return value


def _parameter_groups(encoder: AdaptiveEncoder, settings: TrainingSettings) -> list[dict[str, Any]]:
    of_spn = list(encoder.spn.parameters())
    others = [parameter for name, parameter in encoder.named_parameters() if not name.startswith("spn.")]
    groups = [{"params": others, "rate_factor": 1.0}]
    if of_spn:
        groups.append({"params": of_spn, "rate_factor": settings.spn_rate_factor})
    return groups


def _digest(records: Sequence[SequenceRecord]) -> str:
    digest = hashlib.sha256()
    for record in records:
        digest.update(repr((record.sequence, record.structure, record.loop)).encode())
        digest.update(b"" if record.targets is None else record.targets.tobytes())
    return digest.hexdigest()
