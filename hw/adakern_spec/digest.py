"""Digest of the contract: host and device talk only if theirs are equal."""

import dataclasses
import hashlib
import json
from typing import Any

from . import akm, numbers, protocol
from .akm import AkmShape
from .network import SpnShape

DIGEST_SIZE = 16
"""Bytes, a truncated SHA-256."""

GATEWARE_VERSION = 1
"""Counts gateware releases; the digest already covers everything that must agree."""


def spec_digest(shape: SpnShape | AkmShape) -> bytes:
    """Digest of network shape, number formats and protocol version.

    Folding, clock and board are left out: they change the speed, never an answer.
    """
    contract = {
        "shape": dataclasses.asdict(shape),
        "formats": _akm_formats() if isinstance(shape, AkmShape) else _spn_formats(),
        "protocol": protocol.VERSION,
    }
    return hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).digest()[:DIGEST_SIZE]


def _formats() -> dict[str, Any]:
    return {
        "activation_bits": numbers.ACTIVATION_BITS,
        "accumulator_bits": numbers.ACCUMULATOR_BITS,
        "mean_extra_bits": numbers.MEAN_EXTRA_BITS,
    }


def _spn_formats() -> dict[str, Any]:
    return _formats() | {
        "gain": dataclasses.asdict(numbers.GAIN),
        "scale": dataclasses.asdict(numbers.SCALE),
        "kernel": dataclasses.asdict(numbers.KERNEL),
        "base": dataclasses.asdict(numbers.BASE),
    }


def _akm_formats() -> dict[str, Any]:
    return _formats() | {
        "tap": dataclasses.asdict(akm.TAP),
        "between_frac": akm.BETWEEN_FRAC,
        "logit": dataclasses.asdict(akm.LOGIT),
    }
