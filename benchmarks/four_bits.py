"""Weights of 4 bits against weights of 8: cycles per map on one board, and what a network loses.

    python benchmarks/four_bits.py [--board ulx3s-85f] [--out FILE.json]

Cycles are counted in Amaranth's simulation of the engine, with the folds that the board's DSP blocks allow
and a pixel offered whenever the engine takes one (the link brings a byte per cycle at most). The loss is that
of the bundled encoder, calibrated on the demonstration's sequences and measured on others.
"""

import argparse
import copy
import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from amaranth import Signal
from figures_file import save
from make_bundled import BUNDLED, fasta

import adakern
from adakern.data import Admission, alphabet_named, collate, read_records
from adakern.models import AdaptiveEncoder, load_encoder
from adakern.parameters import SpnParameters
from adakern.quantize import Calibration, quantise
from adakern_hw.blocks.multiplier import LogicMultiplierRow
from adakern_hw.boards import BOARDS, find_board
from adakern_hw.boards.board import Board
from adakern_hw.engines.spn import SpnEngine
from adakern_sim.pixels import pixels
from adakern_sim.streams import Bench
from adakern_spec import cycles
from adakern_spec.network import REFERENCE, REFERENCE_LENGTH

QUANTISATIONS: tuple[tuple[Literal["ptq", "qat"], int], ...] = (("ptq", 8), ("ptq", 4), ("qat", 4))
"""Method and weight bits."""

MAPS = 3
SETTLED = 4
"""Cycles for the last parameter byte to reach its memory."""

OTHERS = (1, 64)
"""Seed and number of the sequences that the loss is measured on."""


def speed(board: Board, weight_bits: int) -> dict[str, Any]:
    """Cycles of the reference network, measured and by formula, and the DSP blocks that it takes."""
    shape = replace(REFERENCE, weight_bits=weight_bits)
    folds = board.folds(shape)
    rng = np.random.default_rng(0)
    block = SpnParameters.random(shape, rng).to_block()
    values = rng.integers(0, 256, (MAPS, shape.in_channels, shape.height, REFERENCE_LENGTH), dtype=np.uint8)
    engine = SpnEngine(shape, folds)
    bench = Bench(engine)
    loaded = Signal()

    async def feed(ctx: Any) -> None:
        await bench.send(ctx, engine.parameters, block)
        await ctx.tick().repeat(SETTLED)
        ctx.set(loaded, 1)
        await bench.send(ctx, engine.pixels, [pixel for one in values for pixel in pixels(one)])

    async def start(ctx: Any) -> None:
        await ctx.tick().until(loaded)
        await bench.send(ctx, engine.jobs, [REFERENCE_LENGTH] * MAPS)

    bench.add(feed)
    bench.add(start)
    results = bench.get(engine.results, MAPS)
    times = bench.times(engine.results)
    bench.run()
    intervals = {later - earlier for earlier, later in itertools.pairwise(times)}
    assert len(intervals) == 1, intervals
    return {
        "folds": [[fold.pe, fold.simd] for fold in folds],
        "products_per_cycle": cycles.multipliers(folds),
        "dsps": board.dsps(shape, folds),
        "products_in_logic": sum(
            fold.multipliers
            for row, fold in zip(board.rows(shape, folds), folds, strict=True)
            if row is LogicMultiplierRow
        ),
        "cycles_per_map": intervals.pop(),
        "cycles_per_map_formula": cycles.interval(shape, folds, REFERENCE_LENGTH),
        "latency": results[0]["cycles"] - results[0]["stalls"],
        "latency_formula": cycles.latency(shape, folds, REFERENCE_LENGTH),
    }


@torch.no_grad()
def answers(encoder: AdaptiveEncoder, data: Calibration) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs at the valid positions, and the scales of all iterations."""
    outputs, trace = encoder.eval()(data.maps, data.lengths, return_trace=True)
    valid = torch.arange(outputs.shape[1]) < data.lengths[:, None]
    return outputs[valid], torch.stack(trace.scales)


def loss(encoder: AdaptiveEncoder, demo: Calibration, others: Calibration) -> list[dict[str, Any]]:
    """For each quantisation, how far scales and outputs are from the float encoder's."""
    outputs, scales = answers(encoder, others)
    rows = []
    for method, bits in QUANTISATIONS:
        artifact = quantise(encoder, demo, method=method, weight_bits=bits)
        quantised = copy.deepcopy(encoder)
        with adakern.open("emulator:", artifact) as device:
            quantised.spn = device.as_module(artifact.input_format.frac)
            got_outputs, got_scales = answers(quantised, others)
        rows.append(
            {
                "method": method,
                "weight_bits": bits,
                "scale_error_mean": float((got_scales - scales).abs().mean()),
                "scale_error_max": float((got_scales - scales).abs().max()),
                "output_error_rms": float((got_outputs - outputs).square().mean().sqrt() / outputs.std()),
            }
        )
    return rows


def collated(path: Path, alphabet: str) -> Calibration:
    """The sequences of a file."""
    maps, lengths = collate(list(read_records(path, Admission())), alphabet_named(alphabet))
    return Calibration(torch.from_numpy(maps), torch.from_numpy(lengths))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--board", choices=BOARDS, default="ulx3s-85f")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "four_bits.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    encoder = load_encoder(BUNDLED / "demo_encoder.safetensors")
    alphabet = encoder.config.alphabet
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "others.fasta"
        path.write_text(fasta(*OTHERS))
        rows = loss(encoder, collated(BUNDLED / "demo.fasta", alphabet), collated(path, alphabet))
    board = find_board(arguments.board)
    speeds = {str(bits): speed(board, bits) for bits in (8, 4)}
    result = {
        "command": f"python benchmarks/four_bits.py --board {board.name}",
        "part": board.about,
        "speed": speeds,
        "throughput_ratio": speeds["8"]["cycles_per_map"] / speeds["4"]["cycles_per_map"],
        "loss": {"sequences": OTHERS[1], "quantisations": rows},
    }
    print(save(arguments.out, result), end="")


if __name__ == "__main__":
    main()
