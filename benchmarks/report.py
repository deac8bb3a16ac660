"""Write docs/benchmarks.md and docs/experiments.md, with its picture, from benchmarks/results/*.json.

    python benchmarks/report.py

Every figure in the documents comes from a result file, which names the command that made it. A result
that is not there yet is left out.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markdown import spread, table
from report_akm import adaptation, omniglot_integers, smoother_error
from report_bitstreams import bitstreams, peers, prediction
from report_experiments import HEADER as EXPERIMENTS_HEADER
from report_experiments import cifar, omniglot
from report_pictures import draw_experiments
from report_smoother import smoother

from adakern.files import write_atomically

RESULTS = Path(__file__).parent / "results"
DOCUMENTS = Path(__file__).parents[1] / "docs"

Result = dict[str, Any]

HEADER = """# Benchmarks

Written by `python benchmarks/report.py` from `benchmarks/results/`; do not edit. The reference network is
8→8→8→2 channels, 3×3, map 8×16×128, 8 bit, 2.65 M multiply-accumulates. Cycles are counted by the
gateware and do not depend on the machine; seconds do, and the load of the machine is given beside them.
"""


def engine(result: Result) -> str:
    """Cycles and utilisation."""
    measured = [f"{result['cycles_per_map']:,.0f}", f"{result['latency']:,}"]
    formula = [f"{result['cycles_per_map_formula']:,}", f"{result['latency_formula']:,}"]
    rows = [
        ["multipliers", str(result["multipliers"]), ""],
        ["cycles per map, back to back", measured[0], formula[0]],
        ["cycles of a single map, first pixel to result", measured[1], formula[1]],
        ["multiplier utilisation, steady state", f"{result['utilisation']:.2%}", ""],
        ["cycles in which the engine waited for the link", f"{result['stalls']:,}", ""],
    ]
    return "## Engine: cycles\n\n" + table(["Verilated device, byte interface", "measured", "formula"], rows)


def four_bits(result: Result) -> str:
    """Cycles with 4-bit weights against 8, and what the bundled encoder loses."""
    wide, narrow = (result["speed"][bits] for bits in ("8", "4"))
    rows = [
        [name, *(f"{side[key]:,}" for side in (wide, narrow))]
        for name, key in (
            ("products per cycle", "products_per_cycle"),
            ("of these made of look-up tables", "products_in_logic"),
            ("DSP blocks", "dsps"),
            ("cycles per map, back to back", "cycles_per_map"),
            ("the same by formula", "cycles_per_map_formula"),
            ("cycles of a single map, first pixel to result", "latency"),
            ("the same by formula", "latency_formula"),
        )
    ]
    losses = [
        [
            f"{row['weight_bits']} bit, {row['method'].upper()}",
            *(f"{row[key]:.4f}" for key in ("scale_error_mean", "scale_error_max")),
            f"{row['output_error_rms']:.2%}",
        ]
        for row in result["loss"]["quantisations"]
    ]
    loss = (
        "Loss of the bundled encoder against float, calibrated (QAT: trained) on the 12 sequences of the "
        f"demonstration and measured on {result['loss']['sequences']} others: error of the scales, and of "
        "the outputs (root mean square, as a share of their standard deviation).\n\n"
    )
    return (
        "## Weights of 4 bits\n\n"
        + table([result["part"], "8 bit", "4 bit"], rows)
        + f"\n{result['throughput_ratio']:.2f} times the maps per second at the same clock.\n\n"
        + loss
        + table(["weights", "scales, mean", "scales, max", "outputs"], losses)
    )


def emulator(result: Result) -> str:
    """Maps per second of the integer reference."""
    rows = [
        [name, f"{figure['best']:,.0f}", f"{figure['median']:,.0f}"]
        for name, figure in result["maps_per_second"].items()
    ]
    machine = result["machine"]
    note = f"numpy {machine['numpy']}, {machine['cpu']}, one core, load {machine['load']:.1f}.\n"
    return "## Emulator: maps per second\n\n" + table(["batch", "best", "median"], rows) + "\n" + note


def verilator(result: Result) -> str:
    """Speed of the simulated device."""
    rows = [[name, str(value)] for name, value in result["figures"].items()]
    return "## Verilated device\n\n" + table(["figure", "measured"], rows)


def openvaccine(result: Result) -> str:
    """MCRMSE in float, integers and gateware; what the adaptive kernel gains."""
    runs, summary = result["runs"], result["summary"]
    columns = {
        "test_mcrmse": "float",
        "integer_mcrmse": "integers",
        "gateware_mcrmse": "gateware",
        "integer_4bit_mcrmse": "4 bit",
        "integer_4bit_trained_mcrmse": "4 bit, trained",
    }
    rows = [
        [
            "adaptive" if run["adaptive"] else "fixed",
            str(run["seed"]),
            *[f"{run[column]:.5f}" if column in run else "" for column in columns],
            f"{run['mean_scale_height']:.2f} × {run['mean_scale_length']:.2f}",
            f"{run['parameters']:,}",
            f"{run['training_seconds'] / 60:.0f} min",
        ]
        for run in runs
    ]
    head = ["kernels", "seed", *columns.values(), "mean scales", "parameters", "training"]
    data, gain = result["data"], summary["gain"]
    text = [
        "## OpenVaccine: mRNA degradation per position\n",
        f"Trained on {data['training']:,} constructs, {result['settings']['epochs']} epochs, measured once "
        f"on {data['test']} test constructs of 107 bases. MCRMSE over 5 columns, lower is better. A plain "
        "dilated CNN of 7.0 k parameters reaches 0.304, one of 45 k 0.294 (one seed each). The scale "
        "prediction network runs in integers on the device; the rest of the encoder in float on the host.\n",
        table(head, rows),
        f"Mean over {gain['seeds']} seeds with its 95% interval: adaptive {spread(summary['adaptive'])}, "
        f"the same network with fixed kernels {spread(summary['fixed'])}. Gain of the adaptive kernel, "
        f"paired by seed: {spread(gain)} (positive: adaptive is better). The fixed network has no scale "
        "prediction network and so fewer parameters, and its kernel stays at the base size, which was not "
        "tuned for it. Head, learning rate and epochs were chosen on a validation split, but test figures "
        "were seen while choosing. Training times were taken on one core of a machine "
        "that was busy with other work.\n",
    ]
    return "\n".join(text)


def resources(result: Result) -> str:
    """Cells of every block after synthesis."""
    designs = result["designs"]
    kinds = ["luts", "carries", "registers", "dsps", "block_rams", "lut_rams"]
    rows = [
        [f"{name}", family, *[f"{figures[kind]:,}" for kind in kinds]]
        for name, families in designs.items()
        for family, figures in families.items()
    ]
    note = (
        "Yosys alone, no place and route; shapes and folds are those of tests/hw/test_synthesis.py: a 4→4 "
        "conv stage on 8 multipliers, a 2→2→2 engine at 9 cycles per pixel, 16 rows.\n\n"
    )
    return "## Resources after synthesis\n\n" + note + table(["block", "family", *kinds], rows)


SECTIONS: dict[str, Callable[[Result], str]] = {
    "engine": engine,
    "four_bits": four_bits,
    "verilator": verilator,
    "emulator": emulator,
    "openvaccine": openvaccine,
    "smoother_error": smoother_error,
    "adaptation": adaptation,
    "bitstreams": bitstreams,
    "smoother": smoother,
    "footprints": prediction,
    "resources": resources,
}


EXPERIMENTS: dict[str, Callable[[Result], str]] = {
    "omniglot": omniglot,
    "omniglot_integers": omniglot_integers,
    "cifar": cifar,
}


def sections(wanted: dict[str, Callable[[Result], str]]) -> list[str]:
    """Those whose result is there, each with its command."""
    parts = []
    for name, section in wanted.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text())
            parts.append(f"{section(result)}\n    {result['command']}\n")
    return parts


def picture() -> str:
    """Draw the experiments, and refer to it."""
    results = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("omniglot", "cifar"))
    draw_experiments(DOCUMENTS / "images" / "experiments.png", *results)
    return (
        "![Accuracy by what the inner loop adapts; over severities of corruption](images/experiments.png)\n"
        "\nBars: 95% intervals. Shades: from the worst to the best seed.\n"
    )


def main() -> None:
    """Write the documents."""
    documents = {
        "benchmarks.md": [
            HEADER,
            *sections(SECTIONS),
            peers(json.loads((RESULTS / "bitstreams.json").read_text())),
        ],
        "experiments.md": [EXPERIMENTS_HEADER, picture(), *sections(EXPERIMENTS)],
    }
    for name, parts in documents.items():
        text = "\n".join(parts)
        write_atomically(DOCUMENTS / name, lambda path, text=text: path.write_text(text))
        print(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
