"""adakern: adaptive-kernel networks on open FPGAs, from PyTorch to a bit-exact device."""
