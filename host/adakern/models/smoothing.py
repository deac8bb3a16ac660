"""Gaussian smoothing with a learnable width: taps, and the matrices that apply them along a direction."""

from typing import Literal, get_args

import torch
from torch import Tensor

from adakern_spec.errors import ShapeError

Border = Literal["zero", "copy"]
"""Zero padding in both directions, or along the length alone with the outermost columns untouched."""

BORDERS: tuple[Border, ...] = get_args(Border)


def check_border(border: str, where: str) -> None:
    """Raises ShapeError, naming ``where``, for what is none of `BORDERS`."""
    if border not in BORDERS:
        raise ShapeError(f"border {border!r}", where, "use " + " or ".join(map(repr, BORDERS)))


def gaussian_taps(r: Tensor, max_radius: int) -> Tensor:
    """Taps 0..max_radius of one side: exp(-i²/2σ²) for i ≤ int(3σ), σ = |r|, else 0; both sides sum to 1.

    ``r`` [...]; result [..., max_radius + 1]. The shape does not depend on r, so this runs under
    torch.func's transforms. Below σ = 1/3 the radius is 0 and the smoother the identity, with gradient 0.
    Where int(3σ) exceeds ``max_radius`` the outer taps are cut off and the others sum to 1.
    Source: design part 1, "Gaussian smoother".
    """
    sigma = r.abs()[..., None]
    offsets = torch.arange(max_radius + 1, dtype=r.dtype, device=r.device)
    radius = (3 * sigma).floor()
    # A σ of 0 stays out of the exponential, whose derivative there is 0 · ∞.
    divisor = torch.where(radius > 0, sigma, torch.ones_like(sigma))
    weights = torch.exp(-0.5 * (offsets / divisor).square())
    weights = torch.where(offsets <= radius, weights, torch.zeros_like(weights))
    return weights / (2 * weights.sum(dim=-1, keepdim=True) - weights[..., :1])


def smoothing_matrix(taps: Tensor, size: int, border: Border) -> Tensor:
    """Matrix [..., size, size] whose column j holds the weights of all inputs in output j.

    ``taps`` [..., max_radius + 1] as `gaussian_taps` gives them. "zero": inputs outside are zero.
    "copy": the outermost ``radius`` outputs at either end equal their inputs.
    """
    positions = torch.arange(size, device=taps.device)
    distance = (positions[:, None] - positions).abs()
    offsets = torch.arange(taps.shape[-1], device=taps.device)
    bands = (distance == offsets[:, None, None]).to(taps.dtype)
    matrix = (taps @ bands.flatten(1)).unflatten(-1, (size, size))
    if border == "zero":
        return matrix
    # The outermost tap is at least exp(-9/2) times the middle one, so the taps above zero count the radius.
    radius = (taps[..., 1:] > 0).sum(dim=-1)[..., None]
    touched = (positions >= radius) & (positions < size - radius)
    return torch.where(touched[..., None, :], matrix, torch.eye(size, dtype=taps.dtype, device=taps.device))


def gaussian_smooth(
    x: Tensor,
    r: Tensor,
    gate: Tensor | None = None,
    *,
    max_radius: int,
    border: Border = "zero",
    keep_every: int = 1,
) -> Tensor:
    """``gate · G_r(x)``: x [B, C, H, L]; r and gate scalars or [C].

    "zero" smooths along both directions, zero padded; "copy" along the length alone. Of the result only
    every ``keep_every``-th row and column, from the first on, is computed.
    One matrix product per direction: on the small maps of few-shot networks faster than a depthwise
    convolution, above all where it is differentiated twice.
    """
    if x.ndim != 4:
        raise ShapeError(f"map of shape {tuple(x.shape)}", "Gaussian smoother", "use [B, C, H, L]")
    taps = gaussian_taps(r, max_radius)
    along_length = smoothing_matrix(taps, x.shape[3], border)[..., ::keep_every]
    if gate is not None:
        along_length = along_length * gate[..., None, None]
    channel = "c" if along_length.ndim == 3 else ""
    x = torch.einsum(f"bchl,{channel}lm->bchm", x, along_length)
    if border == "copy":
        return x[:, :, ::keep_every]
    along_height = smoothing_matrix(taps, x.shape[2], border)[..., ::keep_every]
    channel = "c" if along_height.ndim == 3 else ""
    return torch.einsum(f"bchl,{channel}hg->bcgl", x, along_height)
