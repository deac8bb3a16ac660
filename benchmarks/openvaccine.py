"""Adaptive against fixed pooling kernels on OpenVaccine: mRNA degradation per position.

    python benchmarks/openvaccine.py --data DIR [--seeds 3] [--epochs N] [--out FILE.json] [--work DIR]

DIR holds train.npz and test107.npz (Wayment-Steele et al. 2022; layout: ``adakern.data.read_npz``).
Each network trains on all training constructs and is measured once, on the test constructs: in
floating point, and with the scale prediction network in integers, on the emulator and on the
device (``--device``, the Verilated gateware unless told otherwise). Runs are kept in the work folder
and resumed there, so an interrupted benchmark loses at most one epoch. The adaptive network of seed
0 is written beside the results as openvaccine_encoder.safetensors.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any, Literal

import torch
from figures_file import save
from rows import interval

import adakern
from adakern.data import Admission, SequenceRecord, alphabet_named, collate, read_npz
from adakern.models import AdaptiveEncoder, EncoderConfig, save_encoder
from adakern.quantize import Calibration, quantise
from adakern.report.quantisation import QuantisationReport
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


CALIBRATION_RECORDS = 128
"""Training constructs, from the first on, that calibrate the formats."""

QUANTISATIONS: tuple[tuple[str, Literal["ptq", "qat"], int], ...] = (
    ("integer", "ptq", 8),
    ("integer_4bit", "ptq", 4),
    ("integer_4bit_trained", "qat", 4),
)
"""Column, method, weight bits."""


def measure_integers(
    encoder: AdaptiveEncoder, training: list[SequenceRecord], test: list[SequenceRecord], device: str
) -> dict[str, float]:
    """MCRMSE with the scale prediction network in integers on the emulator, at 8 bit also on ``device``."""
    alphabet = alphabet_named(encoder.config.alphabet)
    calibration = Calibration(*map(torch.from_numpy, collate(training[:CALIBRATION_RECORDS], alphabet)))
    row: dict[str, float] = {}
    for column, method, bits in QUANTISATIONS:
        artifact = quantise(encoder, calibration, method=method, weight_bits=bits)
        row[f"{column}_scale_error"] = QuantisationReport.from_json(artifact.report).scale_error_max
        urls = {column: "emulator:"} | ({"gateware": device} if bits == 8 else {})
        for name, url in urls.items():
            with adakern.open(url, artifact) as opened:
                on_device = copy.deepcopy(encoder)
                on_device.spn = opened.as_module(artifact.input_format.frac)
                row[f"{name}_mcrmse"] = evaluate(on_device, test)[0]["mcrmse"]
    return row


def run(
    adaptive: bool,
    seed: int,
    epochs: int,
    training: list[SequenceRecord],
    test: list[SequenceRecord],
    work: Path,
    device: str,
) -> tuple[AdaptiveEncoder, dict[str, Any]]:
    """Train and measure one network: the network and its row of the results."""
    config = EncoderConfig(**{**CONFIG.to_json(), "adaptive": adaptive})
    out = work / f"{'adaptive' if adaptive else 'fixed'}-{seed}-{epochs}"
    result = train(config, training, out, TrainingSettings(epochs=epochs, seed=seed), progress=True)
    figures, scales = evaluate(result.encoder, test)
    row = {
        "adaptive": adaptive,
        "seed": seed,
        "parameters": result.encoder.parameter_count(),
        "training_seconds": round(sum(entry["seconds"] for entry in result.curve), 1),
        "test_mcrmse": figures["mcrmse"],
        "mean_scale_height": float(scales[0]),
        "mean_scale_length": float(scales[1]),
    }
    if adaptive:
        row |= measure_integers(result.encoder, training, test, device)
    return result.encoder, row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and the gain of adaptive kernels, paired by seed (positive: adaptive is better).

    ``integer_over_float``: relative change of the adaptive networks' MCRMSE by each quantisation.
    """
    by_kind = {
        kind: [row["test_mcrmse"] for row in rows if row["adaptive"] == (kind == "adaptive")]
        for kind in ("adaptive", "fixed")
    }
    gains = [fixed - adaptive for adaptive, fixed in zip(by_kind["adaptive"], by_kind["fixed"], strict=True)]
    adaptive = [row for row in rows if row["adaptive"]]
    changes = {
        column: interval([row[f"{column}_mcrmse"] / row["test_mcrmse"] - 1 for row in adaptive])
        for column in ("gateware", *(column for column, _, _ in QUANTISATIONS))
    }
    return {
        **{kind: interval(values) for kind, values in by_kind.items()},
        "gain": interval(gains),
        "integer_over_float": changes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train.npz and test107.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--device", default="verilator:", help="device to measure beside the emulator")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/openvaccine.json"))
    parser.add_argument("--work", type=Path, default=Path("build/openvaccine"), help="runs, resumable")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    training = list(read_npz(arguments.data / "train.npz", Admission()))
    test = list(read_npz(arguments.data / "test107.npz", Admission()))
    rows: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for adaptive in (True, False):
            encoder, row = run(
                adaptive, seed, arguments.epochs, training, test, arguments.work, arguments.device
            )
            print(json.dumps(row), flush=True)
            rows.append(row)
            if adaptive and seed == 0:
                save_encoder(arguments.out.with_name(ENCODER), encoder)
    report = {
        "command": f"python benchmarks/openvaccine.py --data DIR --seeds {arguments.seeds}",
        "data": {"training": len(training), "test": len(test)},
        "config": CONFIG.to_json(),
        "settings": TrainingSettings(epochs=arguments.epochs).to_json(),
        "runs": rows,
        "summary": summary(rows),
    }
    save(arguments.out, report)
    print(json.dumps(report["summary"], indent=1))


if __name__ == "__main__":
    main()
