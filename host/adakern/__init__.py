"""adakern: adaptive-kernel networks on open FPGAs, from PyTorch to a bit-exact device."""

from .registry import open

__all__ = ["open"]
