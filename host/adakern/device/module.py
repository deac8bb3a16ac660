"""A device in place of the scale prediction network of a torch model."""

import numpy as np
import torch
from torch import Tensor, nn

from adakern_spec.errors import InputError
from adakern_spec.numbers import ACTIVATION_BITS, SCALE, Format

from .base import Device
from .maps import map_dtype


class DeviceModule(nn.Module):
    """``(maps [B, C, H, L] float, lengths [B]) -> scales [B, 2]``, height first, without gradients.

    Quantises the maps to the input format of ``input_frac`` fraction bits (round half up, saturate) and
    returns the device's scales as real numbers, in the maps' dtype and on their torch device.
    Raises InputError for values that are not finite or that the device refuses.
    """

    def __init__(self, device: Device, input_frac: int) -> None:
        super().__init__()
        self._device = device
        self._input_format = Format(ACTIVATION_BITS, device.shape.input_signed, input_frac)

    def forward(self, maps: Tensor, lengths: Tensor) -> Tensor:
        values = maps.detach().to("cpu", torch.float64).numpy()
        if not np.isfinite(values).all():
            raise InputError("values that are not finite", "map", "check the layers ahead of the device")
        fmt = self._input_format
        integers = np.clip(np.floor(np.ldexp(values, fmt.frac) + 0.5), fmt.min, fmt.max)
        answers = self._device.predict(integers.astype(map_dtype(self._device.shape)), lengths.cpu().numpy())
        return torch.from_numpy(answers.scales).to(maps) * 2.0**-SCALE.frac
