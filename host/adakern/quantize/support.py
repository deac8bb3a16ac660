"""Which float networks the hardware can run: everything else is refused before any work is done."""

from dataclasses import dataclass

import torch
from torch import nn

from adakern_spec.errors import ShapeError

from ..models.encoder import AdaptiveEncoder
from ..models.pooling import AdaptiveAnisotropicPool
from ..models.spn import ScalePredictionNetwork


@dataclass(frozen=True)
class Float:
    """What is quantised: the SPN, the pool whose kernel sizes it sets, the encoder around both if any."""

    spn: ScalePredictionNetwork
    pool: AdaptiveAnisotropicPool
    encoder: AdaptiveEncoder | None


def unwrap(network: nn.Module, pool: AdaptiveAnisotropicPool | None) -> Float:
    """SPN, pool and encoder of ``network``; an SPN alone needs a ``pool`` of its own."""
    if isinstance(network, AdaptiveEncoder):
        if not isinstance(network.spn, ScalePredictionNetwork):
            raise ShapeError(
                f"the encoder's spn is a {type(network.spn).__name__}",
                "quantise",
                "train with adaptive kernels",
            )
        return Float(network.spn, network.pool, network)
    if not isinstance(network, ScalePredictionNetwork):
        raise ShapeError(
            f"a {type(network).__name__}", "quantise", "give an AdaptiveEncoder or a ScalePredictionNetwork"
        )
    if pool is None:
        raise ShapeError("a scale prediction network without its pool", "quantise", "pass pool=")
    return Float(network, pool, None)


def checked_kernel(spn: ScalePredictionNetwork) -> int:
    """Kernel size of a network that the gateware has blocks for.

    Raises ShapeError, naming the layer, for anything else and for parameters that are not finite.
    """
    kernels = {conv_kernel(layer, f"spn.convs.{index}") for index, layer in enumerate(spn.convs)}
    if len(kernels) != 1:
        raise ShapeError(f"kernels of {sorted(kernels)} in one network", "spn.convs", "use one size")
    for name, values in spn.state_dict().items():
        if not torch.isfinite(values).all():
            raise ShapeError("non-finite values", f"spn.{name}", "train again with a lower learning rate")
    return kernels.pop()


def conv_kernel(layer: nn.Module, where: str, kind: type[nn.Conv2d] = nn.Conv2d) -> int:
    """Kernel size of a conv that the hardware has, which is a ``kind``."""
    if type(layer) is not kind:
        raise ShapeError(f"unsupported layer {type(layer).__name__}", where, f"use {kind.__name__}")
    assert isinstance(layer, nn.Conv2d)
    height, length = layer.kernel_size
    if height != length or height % 2 == 0:
        raise ShapeError(f"kernel {height}×{length}", where, "use a square kernel of odd size")
    needed: tuple[tuple[str, object, object], ...] = (
        ("stride", layer.stride, (1, 1)),
        ("dilation", layer.dilation, (1, 1)),
        ("groups", layer.groups, 1),
        ("padding mode", layer.padding_mode, "zeros"),
    )
    for what, given, wanted in needed:
        if given != wanted:
            raise ShapeError(f"{what} {given}", where, f"use {wanted}")
    if layer.padding not in ((height // 2, height // 2), "same"):
        raise ShapeError(f"padding {layer.padding}", where, f'use {height // 2} ("same")')
    return height
