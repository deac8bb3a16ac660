"""Adaptive against fixed pooling kernels on OpenVaccine: mRNA degradation per position.

    python benchmarks/openvaccine.py --data DIR [--seeds 3] [--epochs N] [--out FILE.json] [--work DIR]

DIR holds train.npz and test107.npz (Wayment-Steele et al. 2022; layout: ``adakern.data.read_npz``).
Each network trains on all training constructs and is measured once, on the test constructs. Runs
are kept in the work folder and resumed there, so an interrupted benchmark loses at most one epoch.
The adaptive network of seed 0 is written beside the results as openvaccine_encoder.safetensors.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from adakern.data import Admission, SequenceRecord, read_npz
from adakern.files import write_atomically
from adakern.models import AdaptiveEncoder, EncoderConfig, save_encoder
from adakern.training import TrainingSettings, evaluate, train

TARGETS = ("reactivity", "deg_Mg_pH10", "deg_pH10", "deg_Mg_50C", "deg_50C")

ENCODER = "openvaccine_encoder.safetensors"

CONFIG = EncoderConfig(
    iterations=3,
    base_height=1,
    base_length=4,
    outputs=len(TARGETS),
    output_names=TARGETS,
    head_width=24,
    head_dilations=(1, 2, 4, 8),
)


def run(
    adaptive: bool,
    seed: int,
    epochs: int,
    training: list[SequenceRecord],
    test: list[SequenceRecord],
    work: Path,
) -> tuple[AdaptiveEncoder, dict[str, Any]]:
    """Train and measure one network: the network and its row of the results."""
    config = EncoderConfig(**{**CONFIG.to_json(), "adaptive": adaptive})
    out = work / f"{'adaptive' if adaptive else 'fixed'}-{seed}-{epochs}"
    result = train(config, training, out, TrainingSettings(epochs=epochs, seed=seed), progress=True)
    figures, scales = evaluate(result.encoder, test)
    return result.encoder, {
        "adaptive": adaptive,
        "seed": seed,
        "parameters": result.encoder.parameter_count(),
        "training_seconds": round(sum(entry["seconds"] for entry in result.curve), 1),
        "test_mcrmse": figures["mcrmse"],
        "mean_scale_height": float(scales[0]),
        "mean_scale_length": float(scales[1]),
    }


def interval(values: list[float]) -> dict[str, float | int | None]:
    """Mean and half width of its 95% confidence interval (Student's t; None for a single value)."""
    count = len(values)
    half = None
    if count > 1:
        half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return {"mean": float(np.mean(values)), "interval95": half, "seeds": count}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and the gain of adaptive kernels, paired by seed (positive: adaptive is better)."""
    by_kind = {
        kind: [row["test_mcrmse"] for row in rows if row["adaptive"] == (kind == "adaptive")]
        for kind in ("adaptive", "fixed")
    }
    gains = [fixed - adaptive for adaptive, fixed in zip(by_kind["adaptive"], by_kind["fixed"], strict=True)]
    return {**{kind: interval(values) for kind, values in by_kind.items()}, "gain": interval(gains)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train.npz and test107.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/openvaccine.json"))
    parser.add_argument("--work", type=Path, default=Path("build/openvaccine"), help="runs, resumable")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    training = list(read_npz(arguments.data / "train.npz", Admission()))
    test = list(read_npz(arguments.data / "test107.npz", Admission()))
    rows: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for adaptive in (True, False):
            encoder, row = run(adaptive, seed, arguments.epochs, training, test, arguments.work)
            print(json.dumps(row), flush=True)
            rows.append(row)
            if adaptive and seed == 0:
                save_encoder(arguments.out.with_name(ENCODER), encoder)
    report = {
        "data": {"training": len(training), "test": len(test)},
        "config": CONFIG.to_json(),
        "settings": TrainingSettings(epochs=arguments.epochs).to_json(),
        "runs": rows,
        "summary": summary(rows),
    }
    write_atomically(arguments.out, lambda path: path.write_text(json.dumps(report, indent=1) + "\n"))
    print(json.dumps(report["summary"], indent=1))


if __name__ == "__main__":
    main()
