"""Learn what a design takes: synthesise a grid of designs, fit the weights of `adakern_hw.prediction`.

    python benchmarks/fit_estimate.py [--family ecp5|ice40] [--network spn|akm] [--fit-only]

The link is the same in every build of a kind of network and takes most of the time of a small one. So some
samples are whole builds, and most are engines by themselves, which count with what a whole build of the first
design takes more than its engine. Samples are kept in benchmarks/results/footprints.json with the digest of
their gateware, constraints and tools, and taken again only if that has changed. The fit is one of
non-negative least squares for each family, kind of network and resource, of relative errors; each sample is
also predicted by a fit without it.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from amaranth import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from estimate_designs import BOARDS, ENGINES, WHOLE, Design, order_of, read_design, read_folds
from figures_file import save
from scipy.optimize import nnls

from adakern_hw.bitstream import measure, write_sources
from adakern_hw.prediction import QUANTITIES, WEIGHTS, quantities
from adakern_spec.networks import block_size

COMMAND = "python benchmarks/fit_estimate.py"
SAMPLES = Path(__file__).parent / "results" / "footprints.json"

LEARNED = {
    network: {"luts": names, "registers": names, "block_rams": ("design", "block RAMs")}
    for network, names in QUANTITIES.items()
}
"""Kind of network and resource: the quantities that it is learned from."""


Sample = dict[str, Any]


class Harness(wiring.Component):
    """An engine between two pins: its inputs from a shift register, its outputs folded into one bit."""

    rx: In(1)
    tx: Out(1)

    def __init__(self, engine: wiring.Component) -> None:
        self.engine = engine
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.engine = engine = self.engine
        inputs, outputs = [], []
        for _, member, port in engine.signature.flatten(engine):
            (inputs if member.flow is In else outputs).append(Value.cast(port))
        inputs = [port for port in inputs if not isinstance(port, Const)]
        shifted = Signal(sum(map(len, inputs)))
        m.d.sync += [shifted.eq(Cat(self.rx, shifted)), self.tx.eq(Cat(outputs).xor())]
        m.d.comb += Cat(inputs).eq(shifted)
        return m


def take(family: str, design: Design, whole: bool, known: list[Sample]) -> Sample:
    """One sample, from ``known`` if it is there and its sources are the same."""
    order = order_of(family, design)
    device = order.device() if whole else Harness(order.engine())
    sources = write_sources(order.board, order.clocks(), device)
    digest = sources.digest()
    for sample in known:
        if sample["digest"] == digest:
            return sample
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="adakern-sample-") as folder:
        footprint = measure(sources, Path(folder))
    seconds = time.monotonic() - start
    what = "whole" if whole else "engine"
    print(f"{family} {what} {design}: {footprint} in {seconds:.0f} s", file=sys.stderr, flush=True)
    return {
        "design": design._asdict(),
        "whole": whole,
        "folds": [list(astuple(fold)) for fold in order.folds],
        "digest": digest,
        "tools": sources.tools,
        "footprint": footprint.to_json(),
        "seconds": round(seconds, 1),
    }


def fit(counted: np.ndarray, figures: np.ndarray) -> np.ndarray:
    """Weights ≥ 0 of the quantities in the columns that make the relative errors least."""
    scale = np.maximum(figures, 1)
    columns = np.maximum(counted.max(axis=0), 1)
    weights, _ = nnls(counted / columns / scale[:, None], figures / scale)
    # What adds less than half a site to every sample is rounding.
    return np.where(weights < 0.5, 0, weights) / columns


def learn(samples: list[Sample], family: str, network: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights by resource with their worst error; errors of the fit, and of each sample without it."""
    smallest = WHOLE[family, network][0]
    first = [
        sample
        for sample in samples
        if read_design(sample["design"])._replace(mhz=None) == smallest._replace(mhz=None)
    ]
    stored = block_size(smallest.shape)
    rows = []
    for sample in samples:
        order = order_of(family, read_design(sample["design"]))
        clock, kept = (order.clock, None) if sample["whole"] else (0, stored)
        rows.append(quantities(order.board, order.shape, read_folds(sample["folds"]), clock, kept))
    weights, errors = {}, {}
    for kind, names in LEARNED[network].items():
        counted = np.array([[row[name] for name in names] for row in rows])
        link = sum(s["footprint"][kind] * (1 if s["whole"] else -1) for s in first)
        figures = np.array([s["footprint"][kind] + (0 if s["whole"] else link) for s in samples], float)
        found = fit(counted, figures)
        left_out = []
        for index in range(len(samples)):
            others = np.arange(len(samples)) != index
            guess = counted[index] @ fit(counted[others], figures[others])
            left_out.append(guess / figures[index] - 1)
        fitted = counted @ found / figures - 1
        named = zip(names, found, strict=True)
        weights[kind] = {
            "weights": {name: float(f"{weight:.5g}") for name, weight in named if weight},
            "error": round(float(np.abs(left_out).max()), 4),
        }
        errors[kind] = {
            "fitted_worst": float(np.abs(fitted).max()),
            "left_out_mean": float(np.abs(left_out).mean()),
            "left_out_worst": float(np.abs(left_out).max()),
            "left_out": [round(float(error), 4) for error in left_out],
        }
    return weights, errors


def main() -> None:
    """Sample, fit, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--family", choices=BOARDS, help="take samples of one family only")
    parser.add_argument("--network", choices=LEARNED, help="take samples of one kind of network only")
    parser.add_argument("--fit-only", action="store_true", help="take no sample")
    arguments = parser.parse_args()
    result: dict[str, Any] = json.loads(SAMPLES.read_text()) if SAMPLES.exists() else {"families": {}}
    result["command"] = COMMAND
    for family, network in () if arguments.fit_only else ENGINES:
        if family != (arguments.family or family) or network != (arguments.network or network):
            continue
        entry = result["families"].setdefault(family, {"board": BOARDS[family], "networks": {}})
        networks = entry["networks"]
        known = networks.get(network, {}).get("samples", [])
        taken: list[Sample] = []
        wanted = [(design, True) for design in WHOLE[family, network]]
        wanted += [(design, False) for design in ENGINES[family, network]]
        for design, whole in wanted:
            taken.append(take(family, design, whole, known))
            kept = taken + [sample for sample in known if sample not in taken]
            networks[network] = {"samples": kept}
            save(SAMPLES, result)
        networks[network]["samples"] = taken
    weights: dict[str, dict[str, Any]] = {}
    for family, entry in result["families"].items():
        weights[family] = {}
        for network, learned in entry["networks"].items():
            weights[family][network], learned["errors"] = learn(learned["samples"], family, network)
            for kind, errors in learned["errors"].items():
                shown = ", ".join(f"{k} {v:.1%}" for k, v in errors.items() if k != "left_out")
                print(f"{family} {network} {kind}: {shown}")
    save(SAMPLES, result)
    save(WEIGHTS, {"command": COMMAND, "families": weights})


if __name__ == "__main__":
    main()
