"""Learn what a design takes: synthesise a grid of designs, fit the weights of `adakern_hw.prediction`.

    python benchmarks/fit_estimate.py [--family ecp5|ice40] [--network spn|akm] [--fit-only]

The link is the same in every build of a kind of network and takes most of the time of a small one. So some
samples are whole builds, and most are engines by themselves, which count with what a whole build of the first
design takes more than its engine. Samples are kept in benchmarks/results/footprints.json with the digest of
their gateware, constraints and tools, and taken again only if that has changed. The fit is one of
non-negative least squares for each family and resource, of relative errors, over both kinds of network; each
sample is also predicted by a fit without its design.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
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
from adakern_hw.prediction import NETWORKS, WEIGHTS, quantities
from adakern_spec.networks import block_size

COMMAND = "python benchmarks/fit_estimate.py"
SAMPLES = Path(__file__).parent / "results" / "footprints.json"

BLOCK_RAMS = ("design", "block RAMs")
TURNS = ("design", "pixel bits", "lane bits", "tree bits", "control bits", "block RAMs")

LEARNED = {
    "ecp5": {
        "luts": (
            *("design", "scale head", "stages", "layers", "average bits", "window bits", "products"),
            *("sum bits", "smoother bits", "compared bits", "logic products"),
            *("block RAMs", "LUT RAMs", "crossed bits"),
        ),
        "registers": (
            *("design", "scale head", "stages", "layers", "register bits", "products", "logic products"),
            "crossed bits",
        ),
        "block_rams": BLOCK_RAMS,
    },
    # Stages that take turns.
    "ice40": {
        "luts": (*TURNS, "small memory bits"),
        "registers": (*TURNS, "small memory bits"),
        "block_rams": BLOCK_RAMS,
    },
}
"""Family and resource: the quantities that it is learned from."""

Sample = dict[str, Any]
Counted = Mapping[str, float]


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


def _figures(samples: list[Sample], family: str, network: str) -> Iterator[tuple[Design, Counted, Counted]]:
    """Design, quantities and footprint of each sample as a whole build."""
    smallest = WHOLE[family, network][0]
    stored = block_size(smallest.shape)
    link: Counter[str] = Counter()
    for sample in samples:
        if _same(read_design(sample["design"]), smallest):
            for kind, count in sample["footprint"].items():
                link[kind] += count if sample["whole"] else -count
    for sample in samples:
        design = read_design(sample["design"])
        order = order_of(family, design)
        clock, kept = (order.clock, None) if sample["whole"] else (0, stored)
        counted = quantities(order.board, order.shape, read_folds(sample["folds"]), clock, kept)
        taken = {
            kind: count + (0 if sample["whole"] else link[kind])
            for kind, count in sample["footprint"].items()
        }
        yield design, counted, taken


def _same(design: Design, other: Design) -> bool:
    """Whether the designs are the same but for their clocks."""
    return design._replace(mhz=None) == other._replace(mhz=None)


def learn(entry: dict[str, Any], family: str) -> dict[str, Any]:
    """Weights by resource with their worst error for each kind of network.

    Puts the errors of the fit, and of each sample's prediction without its design, beside the samples.
    """
    networks = entry["networks"]
    members = [(name, *one) for name in networks for one in _figures(networks[name]["samples"], family, name)]
    weights: dict[str, Any] = {}
    for kind, names in LEARNED[family].items():
        counted = np.array([[row[name] for name in names] for _, _, row, _ in members])
        figures = np.array([taken[kind] for _, _, _, taken in members], float)
        found = fit(counted, figures)
        fitted = counted @ found / figures - 1
        left_out = []
        for _, design, _, _ in members:
            others = np.array([not _same(design, other) for _, other, _, _ in members])
            guess = counted[len(left_out)] @ fit(counted[others], figures[others])
            left_out.append(guess / figures[len(left_out)] - 1)
        named = zip(names, found, strict=True)
        weights[kind] = {
            "weights": {name: float(f"{weight:.5g}") for name, weight in named if weight},
            "errors": {},
        }
        for network, learned in networks.items():
            own = [index for index, member in enumerate(members) if member[0] == network]
            alone = np.array(left_out)[own]
            learned.setdefault("errors", {})[kind] = {
                "fitted_worst": float(np.abs(fitted[own]).max()),
                "left_out_mean": float(np.abs(alone).mean()),
                "left_out_worst": float(np.abs(alone).max()),
                "left_out": [round(float(error), 4) for error in alone],
            }
            weights[kind]["errors"][network] = round(float(np.abs(alone).max()), 4)
    return weights


def _what(sample: Sample) -> tuple[Design, bool]:
    """What was synthesised: a design, and whether whole."""
    return read_design(sample["design"]), sample["whole"]


def main() -> None:
    """Sample, fit, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--family", choices=BOARDS, help="take samples of one family only")
    parser.add_argument("--network", choices=NETWORKS, help="take samples of one kind of network only")
    parser.add_argument("--fit-only", action="store_true", help="take no sample")
    arguments = parser.parse_args()
    result: dict[str, Any] = json.loads(SAMPLES.read_text()) if SAMPLES.exists() else {"families": {}}
    result["command"] = COMMAND
    for family, network in () if arguments.fit_only else ENGINES:
        if family != (arguments.family or family) or network != (arguments.network or network):
            continue
        learned = result["families"].setdefault(family, {"board": BOARDS[family], "networks": {}})
        networks = learned["networks"]
        entry = networks.setdefault(network, {"samples": []})
        known = entry["samples"]
        taken: list[Sample] = []
        wanted = [(design, True) for design in WHOLE[family, network]]
        wanted += [(design, False) for design in ENGINES[family, network]]
        for design, whole in wanted:
            taken.append(take(family, design, whole, known))
            again = [_what(sample) for sample in taken]
            entry["samples"] = taken + [sample for sample in known if _what(sample) not in again]
            save(SAMPLES, result)
        entry["samples"] = taken
    weights = {family: learn(entry, family) for family, entry in result["families"].items()}
    for family, entry in result["families"].items():
        for network, learned in entry["networks"].items():
            for kind, errors in learned["errors"].items():
                shown = ", ".join(f"{k} {v:.1%}" for k, v in errors.items() if k != "left_out")
                print(f"{family} {network} {kind}: {shown}")
    save(SAMPLES, result)
    save(WEIGHTS, {"command": COMMAND, "families": weights})


if __name__ == "__main__":
    main()
