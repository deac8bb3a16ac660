"""Images read back from files that Pillow wrote; damaged, odd and missing ones."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adakern.data.image_sets import CIFAR10_CLASSES, read_cifar10, read_omniglot
from adakern.data.images import ImageSet, ImageShape, read_images
from adakern_spec.errors import InputError

GREY = ImageShape(1, 6, 4)
COLOUR = ImageShape(3, 6, 4)


def pixels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes in nested folders, PNG of the right shape."""
    for number, name in enumerate(("b/one", "a")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(3):
            Image.fromarray(pixels(10 * number + index, 6, 4)).save(tmp_path / "set" / name / f"{index}.png")
    return tmp_path / "set"


def test_folders_are_classes(folder: Path):
    (folder / "a" / "notes.txt").write_text("no image")
    found = read_images(folder, GREY, labelled=True)
    assert found.classes == ("a", "b/one")
    assert found.names == ("a/0.png", "a/1.png", "a/2.png", "b/one/0.png", "b/one/1.png", "b/one/2.png")
    np.testing.assert_array_equal(found.labels, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(found.images[4, 0], pixels(1, 6, 4))
    assert found.images.dtype == np.uint8
    assert not found.messages()
    assert [list(indices) for indices in found.members()] == [[0, 1, 2], [3, 4, 5]]
    assert read_images(folder, GREY, labelled=False).classes == ()


def test_single_file_and_upper_case_suffix(folder: Path):
    (folder / "a" / "0.png").rename(folder / "a" / "0.PNG")
    found = read_images(folder / "a" / "0.PNG", GREY, labelled=False)
    np.testing.assert_array_equal(found.images[0, 0], pixels(10, 6, 4))


def test_damaged_files_are_skipped_and_told(folder: Path):
    whole = (folder / "a" / "0.png").read_bytes()
    (folder / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "a" / "empty.jpg").write_bytes(b"")
    (folder / "a" / "text.jpeg").write_text("no image")
    found = read_images(folder, GREY, labelled=True)
    assert len(found.images) == 6
    assert len(found.skipped) == 3
    lines = found.messages()
    assert lines[-1] == "warning: 3 of 9 files skipped"
    for name in ("cut.png", "empty.jpg", "text.jpeg"):
        assert sum(name in line and line.endswith("skipped") for line in lines) == 1


def test_any_damage_skips_or_reads(folder: Path):
    """Every byte of a PNG changed in turn: never anything but a skipped file, an image or an InputError."""
    path = folder / "a" / "0.png"
    whole = path.read_bytes()
    outcomes = set()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x5A]) + whole[position + 1 :])
        try:
            found = read_images(folder, GREY, labelled=True)
            outcomes.add(len(found.skipped))
            assert len(found.images) + len(found.skipped) == 6
        except InputError:
            outcomes.add("refused")
    assert {0, 1} <= outcomes


def test_other_sizes_and_modes_are_converted_and_counted(folder: Path):
    Image.fromarray(pixels(0, 12, 8, 3)).save(folder / "a" / "large.png")
    Image.fromarray(np.full((6, 4, 3), (255, 0, 0), np.uint8)).save(folder / "a" / "red.png")
    found = read_images(folder, GREY, labelled=True)
    assert found.converted == {"mode RGB to L": 2, "12×8 to 6×4 pixels": 1}
    red = found.images[found.names.index("a/red.png")]
    assert abs(int(red[0, 0, 0]) - 0.299 * 255) < 1
    with pytest.raises(InputError, match=r"large\.png.*mode RGB to L, 12×8 to 6×4"):
        read_images(folder, GREY, labelled=True, convert=False)


def test_constant_areas_keep_their_value_when_shrunk(tmp_path: Path):
    halves = np.repeat(np.array([10, 200], np.uint8), 40)[:, None].repeat(64, axis=1)
    Image.fromarray(halves).save(tmp_path / "0.png")
    found = read_images(tmp_path, ImageShape(1, 8, 4), labelled=False).images[0, 0]
    assert (found[:3] == 10).all()
    assert (found[5:] == 200).all()


def test_transparent_pixels_become_white(tmp_path: Path):
    """A drawing on nothing: black ink with alpha, everything black without it."""
    drawing = np.zeros((6, 4, 4), np.uint8)
    drawing[2, 1, 3] = 255
    Image.fromarray(drawing).save(tmp_path / "0.png")
    found = read_images(tmp_path, COLOUR, labelled=False).images[0]
    assert (found[:, 2, 1] == 0).all()
    assert (found.sum(axis=0) == 3 * 255).sum() == 6 * 4 - 1


def test_sixteen_bits_are_refused(tmp_path: Path):
    Image.fromarray(np.full((6, 4), 40_000, np.uint16)).save(tmp_path / "0.png")
    with pytest.raises(InputError, match="8 bits per channel"):
        read_images(tmp_path, GREY, labelled=False)


def test_nothing_to_read_is_told(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_images(tmp_path / "absent", GREY, labelled=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image in this folder"):
        read_images(tmp_path / "empty", GREY, labelled=True)
    (tmp_path / "empty" / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match="none of 1 images readable"):
        read_images(tmp_path / "empty", GREY, labelled=False)
    Image.fromarray(pixels(0, 6, 4)).save(folder / "stray.png")
    with pytest.raises(InputError, match="one folder per class"):
        read_images(folder, GREY, labelled=True)


@pytest.mark.parametrize("shape", [(5, 6, 4), (5, 6, 4, 1), (5, 6, 4, 3)])
def test_archives(tmp_path: Path, shape):
    images = pixels(3, *shape)
    np.savez(tmp_path / "set.npz", images=images, labels=np.array(["x", "y", "x", "y", "y"]))
    wanted = COLOUR if shape[-1] == 3 else GREY
    found = read_images(tmp_path / "set.npz", wanted, labelled=True)
    channels_first = images.reshape(5, 6, 4, -1).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found.images, channels_first)
    assert found.classes == ("x", "y")
    np.testing.assert_array_equal(found.labels, [0, 1, 0, 1, 1])


def test_labels_of_bytes_are_texts(tmp_path: Path):
    np.savez(tmp_path / "set.npz", images=pixels(3, 3, 6, 4), labels=np.array([b"b", "ä".encode(), b"b"]))
    found = read_images(tmp_path / "set.npz", GREY, labelled=True)
    assert found.classes == ("b", "ä")
    np.testing.assert_array_equal(found.labels, [0, 1, 0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": pixels(0, 2, 6, 4)}, "no array images"),
        ({"images": pixels(0, 2, 6, 4)}, "no array labels"),
        ({"images": pixels(0, 2, 6, 4).astype(float), "labels": np.arange(2)}, "give uint8"),
        ({"images": pixels(0, 2, 6, 4, 2), "labels": np.arange(2)}, "give uint8"),
        ({"images": pixels(0, 2, 0, 4), "labels": np.arange(2)}, "give uint8"),
        ({"images": pixels(0, 2, 6, 4), "labels": np.arange(3)}, "one integer or text"),
        ({"images": pixels(0, 2, 6, 4), "labels": np.array([0.5, 1])}, "one integer or text"),
        ({"images": pixels(0, 0, 6, 4), "labels": np.arange(0)}, "no images"),
        ({"images": np.array([None]), "labels": np.arange(1)}, "no readable NumPy archive"),
    ],
)
def test_bad_archives_are_refused(tmp_path: Path, arrays, message):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_images(tmp_path / "set.npz", GREY, labelled=True)


def test_rotations_are_new_classes():
    images = pixels(5, 4, 1, 6, 6)
    given = ImageSet(images, tuple("abcd"), np.array([0, 1, 0, 1]), ("p", "q"))
    turned = given.with_rotations()
    assert len(turned.classes) == 8
    assert turned.images.shape == (16, 1, 6, 6)
    for index in range(16):
        quarter, original = divmod(index, 4)
        assert turned.labels[index] == given.labels[original] + 2 * quarter
        np.testing.assert_array_equal(turned.images[index, 0], np.rot90(images[original, 0], quarter))
    with pytest.raises(InputError, match="6×4 pixels; use square ones"):
        ImageSet(pixels(0, 2, 1, 6, 4), labels=np.arange(2), classes=("p", "q")).with_rotations()


def test_reduction_is_the_rounded_mean():
    images = pixels(6, 3, 2, 6, 9)
    expected = np.floor(images.reshape(3, 2, 2, 3, 3, 3).mean(axis=(3, 5)) + 0.5)
    np.testing.assert_array_equal(ImageSet(images).reduced(3).images, expected)
    with pytest.raises(InputError, match="6×9"):
        ImageSet(images).reduced(4)


@pytest.mark.parametrize("fields", [(2, 4, 4), (1, 0, 4)])
def test_bad_shapes_are_refused(fields):
    with pytest.raises(InputError):
        ImageShape(*fields)


def test_omniglot(tmp_path: Path):
    characters = pixels(7, 3, 2, 6, 6)
    np.savez(tmp_path / "o.npz", background=characters, evaluation=characters[0])
    found = read_omniglot(tmp_path / "o.npz", "background")
    np.testing.assert_array_equal(found.images[3, 0], characters[1, 1])
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 1, 2, 2])
    assert len(found.classes) == 3
    with pytest.raises(InputError, match="characters, drawers"):
        read_omniglot(tmp_path / "o.npz", "evaluation")


def test_cifar10(tmp_path: Path):
    files = []
    for index in range(4):
        file = io.BytesIO()
        Image.fromarray(np.full((32, 32, 3), 60 * index, np.uint8)).save(file, "JPEG", quality=75)
        files.append(file.getvalue())
    files[1] = files[1][:50]
    arrays = {
        "test_jpeg": np.frombuffer(b"".join(files), np.uint8),
        "test_offset": np.cumsum([0, *map(len, files)]).astype(np.uint32),
        "test_label": np.array([3, 1, 9, 0], np.uint8),
    }
    np.savez(tmp_path / "c.npz", **arrays)
    found = read_cifar10(tmp_path / "c.npz", "test", first=3)
    assert found.images.shape == (2, 3, 32, 32)
    assert abs(int(found.images[1, 0, 5, 5]) - 120) <= 2
    assert [CIFAR10_CLASSES[label] for label in found.labels] == ["cat", "truck"]
    assert len(found.skipped) == 1
    assert "image 1" in found.skipped[0]
    np.savez(tmp_path / "c.npz", **arrays | {"test_label": np.zeros(3, np.uint8)})
    with pytest.raises(InputError, match="one label per image"):
        read_cifar10(tmp_path / "c.npz", "test")
