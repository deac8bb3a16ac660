"""Image corruptions in the style of Hendrycks and Dietterich 2019, for 32×32 images: CIFAR-10-C-style.

Their names and severities, as far as they are used here; written anew, so figures are not comparable
with those on the published CIFAR-10-C to the last digit. NumPy and Pillow only.
"""

import io
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adakern_spec.errors import InputError

from .images import Pixels

SEVERITIES = (1, 2, 3, 4, 5)

Values = NDArray[np.float64]


def gaussian_noise(images: Values, level: float, rng: np.random.Generator) -> Values:
    """Normal noise of standard deviation ``level`` on every value."""
    return images + rng.normal(0, level, images.shape)


def gaussian_blur(images: Values, level: float, rng: np.random.Generator) -> Values:
    """Gaussian of standard deviation ``level`` pixels, four of them wide on either side, edges repeated."""
    radius = int(4 * level + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / level) ** 2)
    for axis in (2, 3):
        width = [(0, 0)] * 4
        width[axis] = (radius, radius)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(images, width, "edge"), len(taps), axis)
        images = windows @ (taps / taps.sum())
    return images


def contrast(images: Values, level: float, rng: np.random.Generator) -> Values:
    """Distance to each channel's mean times ``level``."""
    mean = images.mean(axis=(2, 3), keepdims=True)
    return mean + (images - mean) * level


def brightness(images: Values, level: float, rng: np.random.Generator) -> Values:
    """``level`` added to the value of hue, saturation and value."""
    value = images.max(axis=1, keepdims=True)
    brighter = np.minimum(value + level, 1)
    # Hue and saturation do not change when all channels grow alike; black has neither.
    return np.where(value > 0, images * brighter / np.where(value > 0, value, 1), brighter)


def pixelate(images: Values, level: float, rng: np.random.Generator) -> Values:
    """Shrunk to ``level`` times the sides and back, by areas."""

    def change(image: Image.Image) -> Image.Image:
        small = (max(1, int(image.width * level)), max(1, int(image.height * level)))
        return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)

    return _each(images, change)


def jpeg(images: Values, level: float, rng: np.random.Generator) -> Values:
    """Through JPEG of quality ``level``."""

    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(level))
        return Image.open(file)

    return _each(images, change)


def _each(images: Values, change: Callable[[Image.Image], Image.Image]) -> Values:
    pixels = np.rint(images * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    mode = 0 if images.shape[1] == 1 else slice(None)
    changed = [np.asarray(change(Image.fromarray(image[..., mode]))).reshape(image.shape) for image in pixels]
    return np.stack(changed).transpose(0, 3, 1, 2) / 255


_Corruption = Callable[[Values, float, np.random.Generator], Values]

_LEVELS: dict[str, tuple[_Corruption, tuple[float, ...]]] = {
    "gaussian noise": (gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "gaussian blur": (gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "contrast": (contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "brightness": (brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "pixelate": (pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": (jpeg, (80, 65, 58, 50, 40)),
}
"""Corruption and its level at each severity (those of CIFAR-10-C)."""

CORRUPTIONS = tuple(_LEVELS)


def corrupt(images: Pixels, name: str, severity: int, seed: int = 0) -> Pixels:
    """Corrupted copies of images uint8 [N, C, H, L], C of 1 or 3; the same seed gives the same noise.

    Raises InputError for an unknown corruption or a severity that is not 1 to 5.
    """
    if name not in _LEVELS:
        raise InputError(f"corruption {name!r}", "corruptions", "use " + ", ".join(CORRUPTIONS))
    if severity not in SEVERITIES:
        raise InputError(f"severity {severity}", "corruptions", "use 1 to 5")
    function, levels = _LEVELS[name]
    rng = np.random.default_rng((seed, severity, zlib.crc32(name.encode())))
    values = function(images / 255.0, levels[severity - 1], rng)
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
