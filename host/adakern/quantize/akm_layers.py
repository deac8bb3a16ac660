"""A float kernel modulation network taken apart: its shape, its kernels, what each layer sees."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from adakern_spec.akm import AkmLayer, AkmShape, Downsample
from adakern_spec.errors import ShapeError

from ..models.akm import AKMConv2d
from ..models.akm_network import AkmNetwork, conv_kind
from ..models.smoothing import gaussian_smooth
from .support import conv_kernel

PLAIN_GATE = 40.0
"""s of a layer without modulation: its sigmoid is 1."""


@dataclass(frozen=True)
class FloatLayer:
    """One layer's outputs [B, C, H, L]: of the conv, smoothed and gated and rectified, downsampled."""

    conv: Tensor
    smoothed: Tensor
    output: Tensor


def shape_of(network: AkmNetwork, signed: bool, weight_bits: int, max_length: int) -> AkmShape:
    """What a bitstream for ``network`` is built for.

    Raises ShapeError, naming the layer, for layers that the gateware has no blocks for and parameters
    that are not finite.
    """
    config = network.config
    kind = conv_kind(config)
    kernels = [conv_kernel(conv, f"convs.{index}", kind) for index, conv in enumerate(network.convs)]
    for name, values in network.state_dict().items():
        if not torch.isfinite(values).all() and not name.endswith((".r", ".s")):
            raise ShapeError("non-finite values", name, "train again with a lower learning rate")
    layers = zip(config.channels[1:], kernels, config.downsample, strict=True)
    return AkmShape(
        config.channels[0],
        config.height,
        tuple(AkmLayer(channels, kernel, Downsample(way)) for channels, kernel, way in layers),
        config.classes,
        radius=config.max_radius,
        per_channel=config.modulated and config.per_channel,
        weight_bits=weight_bits,
        input_signed=signed,
        max_length=max_length,
    )


def modulation(network: AkmNetwork) -> tuple[list[Tensor], list[Tensor]]:
    """r and s of every layer; those of a layer without modulation leave the map as it is."""
    r, s = [], []
    for conv in convs_of(network):
        r.append(conv.r.detach() if isinstance(conv, AKMConv2d) else torch.zeros(1))
        s.append(conv.s.detach() if isinstance(conv, AKMConv2d) else torch.full((1,), PLAIN_GATE))
    return r, s


def convs_of(network: AkmNetwork) -> list[nn.Conv2d]:
    """The layers' convs, with their type."""
    return [conv for conv in network.convs if isinstance(conv, nn.Conv2d)]


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The conv alone, without smoothing."""
    return functional.conv2d(x, conv.weight, conv.bias, padding=conv.kernel_size[0] // 2)


def smooth(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Smoother, gate and ReLU behind a conv."""
    if isinstance(conv, AKMConv2d):
        gate = torch.sigmoid(conv.s)
        x = gaussian_smooth(x, conv.r, gate, max_radius=conv.max_radius, border=conv.border)
    return functional.relu(x)


def downsample(x: Tensor, way: str) -> Tensor:
    """What a layer passes on."""
    if way == Downsample.STRIDE2:
        return x[:, :, ::2, ::2]
    return functional.max_pool2d(x, 2) if way == Downsample.MAX2 else x


@torch.no_grad()
def float_layers(network: AkmNetwork, x: Tensor) -> tuple[list[FloatLayer], Tensor]:
    """Every layer's outputs for images [B, C, H, L], and the logits [B, classes]."""
    layers = []
    for conv, way in zip(convs_of(network), network.config.downsample, strict=True):
        convolved = convolve(conv, x)
        smoothed = smooth(conv, convolved)
        x = downsample(smoothed, way)
        layers.append(FloatLayer(convolved, smoothed, x))
    return layers, network.classifier(x.mean(dim=(2, 3)))
