"""Valid lengths: positions at or past a map's length are zero (design part 1, "Length")."""

import torch
from torch import Tensor

from adakern_spec.errors import ShapeError


def length_mask(lengths: Tensor, positions: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """One at valid positions, zero after them.

    Parameters: ``lengths`` [B] integers, each 1 to ``positions``. Returns [B, 1, 1, positions],
    which broadcasts over channels and rows. Raises ShapeError for a length outside that range.
    """
    if lengths.ndim != 1 or lengths.numel() == 0:
        raise ShapeError(f"lengths of shape {tuple(lengths.shape)}", "lengths", "give one per map, [B]")
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < 1 or longest > positions:
        raise ShapeError(f"lengths from {shortest} to {longest}", "lengths", f"use 1 to {positions}")
    steps = torch.arange(positions, device=lengths.device)
    return (steps[None, :] < lengths[:, None]).to(dtype)[:, None, None, :]
