"""Corruptions against scipy, matplotlib's colours and Pillow, and their severities against each other."""

import io

import numpy as np
import pytest
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage

from adakern.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from adakern_spec.errors import InputError


@pytest.fixture(scope="module")
def images():
    """Smooth colour images that use most of the range, and one black pixel."""
    noise = np.random.default_rng(0).normal(size=(12, 3, 32, 32))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 1.2, 1.2), mode="wrap")
    made = (128 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)
    made[0, :, 0, 0] = 0
    return made


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_grow(images, name):
    errors = []
    for severity in SEVERITIES:
        corrupted = corrupt(images, name, severity)
        assert corrupted.shape == images.shape
        assert corrupted.dtype == np.uint8
        np.testing.assert_array_equal(corrupted, corrupt(images, name, severity))
        errors.append(np.abs(corrupted.astype(float) - images).mean())
    assert errors[0] > 0
    assert errors == sorted(errors)
    assert errors[-1] > 1.2 * errors[0]


def test_noise_has_its_deviation():
    grey = np.full((50, 1, 32, 32), 128, np.uint8)
    for severity, deviation in zip(SEVERITIES, (0.04, 0.06, 0.08, 0.09, 0.10), strict=True):
        noise = corrupt(grey, "gaussian noise", severity).astype(float) - 128
        assert noise.std() / 255 == pytest.approx(deviation, rel=0.02)
        assert abs(noise.mean()) < 0.3
    first, second = (corrupt(grey, "gaussian noise", 1, seed=seed) for seed in (0, 1))
    assert (first != second).mean() > 0.5


def test_blur_is_scipys(images):
    expected = ndimage.gaussian_filter(images.astype(float), (0, 0, 0.8, 0.8), mode="nearest", truncate=4)
    np.testing.assert_allclose(corrupt(images, "gaussian blur", 4), expected, atol=0.5 + 1e-6)


def test_brightness_raises_the_value_of_hsv(images):
    hsv = rgb_to_hsv(images.transpose(0, 2, 3, 1) / 255)
    hsv[..., 2] = np.minimum(hsv[..., 2] + 0.2, 1)
    expected = hsv_to_rgb(hsv).transpose(0, 3, 1, 2) * 255
    np.testing.assert_allclose(corrupt(images, "brightness", 4), expected, atol=0.5 + 1e-6)


def test_contrast_keeps_the_mean_and_shrinks_the_rest(images):
    corrupted = corrupt(images, "contrast", 2).astype(float)
    np.testing.assert_allclose(corrupted.mean(axis=(2, 3)), images.mean(axis=(2, 3)), atol=0.5)
    np.testing.assert_allclose(corrupted.std(axis=(2, 3)), 0.5 * images.std(axis=(2, 3)), rtol=0.02)


def test_pixelate_and_jpeg_are_pillows(images):
    image = Image.fromarray(images[3].transpose(1, 2, 0))
    small = image.resize((24, 24), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    np.testing.assert_array_equal(corrupt(images, "pixelate", 4)[3], np.asarray(small).transpose(2, 0, 1))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50)
    decoded = np.asarray(Image.open(file)).transpose(2, 0, 1)
    np.testing.assert_array_equal(corrupt(images, "jpeg", 4)[3], decoded)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_grey_images_are_taken(images, name):
    assert corrupt(images[:, :1], name, 3).shape == (12, 1, 32, 32)


def test_unknown_names_and_severities_are_refused(images):
    with pytest.raises(InputError, match="gaussian noise"):
        corrupt(images, "snow", 1)
    with pytest.raises(InputError, match="1 to 5"):
        corrupt(images, "jpeg", 6)
