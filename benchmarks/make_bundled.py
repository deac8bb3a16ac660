"""Writes what the demonstration runs on: a quantised encoder and synthetic RNA with known structures.

    python benchmarks/make_bundled.py [--encoder FILE] [--seed 0] [--count 12]

The encoder is the one that benchmarks/openvaccine.py trained. The sequences are nobody's: each is
designed from a random nested structure of stems, bulges, internal loops and multiloops, with bases
that pair where the structure pairs. The artifact is the encoder after post-training quantisation,
calibrated on these sequences.
"""

import argparse
import random
from pathlib import Path

import torch

from adakern.artifact import save
from adakern.data import Admission, alphabet_named, collate, pair_partners, read_records
from adakern.files import write_atomically
from adakern.models import load_encoder, save_encoder
from adakern.quantize import Calibration, quantise

BUNDLED = Path(__file__).parents[1] / "host" / "adakern" / "bundled"
LENGTHS = (30, 120)

PAIRS = ("GC", "CG", "AU", "UA", "GU", "UG")
PAIR_WEIGHTS = (30, 30, 15, 15, 5, 5)
UNPAIRED = "ACGU"
UNPAIRED_WEIGHTS = (50, 15, 20, 15)


def stem(rng: random.Random, depth: int) -> str:
    """Dot-bracket of one stem with whatever it encloses."""
    pairs = rng.randint(3, 7)
    inside = rng.random()
    if depth == 0 or inside < 0.35:
        core = "." * rng.randint(3, 8)
    elif inside < 0.75:
        left, right = rng.choice(((0, 2), (1, 0), (2, 2), (3, 1), (4, 4)))
        core = "." * left + stem(rng, depth - 1) + "." * right
    else:
        branches = (stem(rng, depth - 1) + "." * rng.randint(0, 3) for _ in range(rng.randint(2, 3)))
        core = "." * rng.randint(0, 3) + "".join(branches)
    return "(" * pairs + core + ")" * pairs


def structure(rng: random.Random) -> str:
    """Random nested structure of one to three stems in a row, within the lengths allowed."""
    while True:
        stems = (stem(rng, depth=3) + "." * rng.randint(0, 6) for _ in range(rng.randint(1, 3)))
        design = "." * rng.randint(0, 6) + "".join(stems)
        if LENGTHS[0] <= len(design) <= LENGTHS[1]:
            return design


def sequence(rng: random.Random, design: str) -> str:
    """Random bases that pair as the structure says."""
    bases = rng.choices(UNPAIRED, UNPAIRED_WEIGHTS, k=len(design))
    for position, partner in enumerate(pair_partners(design)):
        if partner > position:
            bases[position], bases[partner] = rng.choices(PAIRS, PAIR_WEIGHTS)[0]
    return "".join(bases)


def fasta(seed: int, count: int) -> str:
    """``count`` designs with their dot-brackets."""
    rng = random.Random(seed)
    records = []
    for index in range(1, count + 1):
        design = structure(rng)
        records.append(f">design_{index:02}\n{sequence(rng, design)}\n{design}\n")
    return "".join(records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--encoder", type=Path, default=Path(__file__).parent / "results" / "openvaccine_encoder.safetensors"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=12)
    arguments = parser.parse_args()
    text = fasta(arguments.seed, arguments.count)
    write_atomically(BUNDLED / "demo.fasta", lambda path: path.write_text(text))
    encoder = load_encoder(arguments.encoder)
    save_encoder(BUNDLED / "demo_encoder.safetensors", encoder)
    designs = list(read_records(BUNDLED / "demo.fasta", Admission()))
    maps, lengths = collate(designs, alphabet_named(encoder.config.alphabet))
    calibration = Calibration(torch.from_numpy(maps), torch.from_numpy(lengths))
    save(BUNDLED / "demo.safetensors", quantise(encoder, calibration))


if __name__ == "__main__":
    main()
