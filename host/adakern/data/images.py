"""Images: reading PNG and JPEG files and NumPy archives, with or without classes. NumPy and Pillow only."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adakern_spec.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg")

_CHANNEL_MODES = {1: "L", 3: "RGB"}

_WITH_ALPHA = ("RGBA", "LA", "PA")

_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr", *_WITH_ALPHA)
"""Modes of 8 bits or less per channel; of others Pillow's conversion would cut the values off."""

PIXEL_SCALE = 1 / 256
"""Value of a pixel's unit: the images are unsigned with 8 fraction bits, in float as on a device."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageShape:
    """What a network takes: 1 channel (grey) or 3 (RGB), height and length in pixels."""

    channels: int
    height: int
    length: int

    def __post_init__(self) -> None:
        if self.channels not in _CHANNEL_MODES:
            raise InputError(f"{self.channels} channels", "image shape", "use 1 (grey) or 3 (RGB)")
        if min(self.height, self.length) < 1:
            raise InputError(f"{self.height}×{self.length} pixels", "image shape", "use at least 1×1")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images uint8 [N, C, H, L] in reading order, with what was done to get them.

    ``names`` [N] say where each came from; ``labels`` int64 [N] index ``classes`` (empty where there are
    none). ``skipped``: one line per file that could not be read; ``lost``: classes that have no other files.
    ``converted``: how many images were converted, by what was done. ``source``: path, where there is one.
    """

    images: Pixels
    names: tuple[str, ...] = ()
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    converted: dict[str, int] = field(default_factory=dict)
    source: str = ""

    def messages(self) -> list[str]:
        """Lines for the user: one per skipped file, their count, one per lost class and conversion."""
        lines = [f"warning: {line}; skipped" for line in self.skipped]
        if self.skipped:
            lines.append(
                f"warning: {len(self.skipped)} of {len(self.skipped) + len(self.images)} files skipped"
            )
        lines += [f"warning: class {name!r} has no readable image; left out" for name in self.lost]
        return lines + [f"{count} images: {what}" for what, count in self.converted.items()]

    def members(self) -> list[NDArray[np.int64]]:
        """Indices of each class's images, by class."""
        order = np.argsort(self.labels, kind="stable")
        ends = np.searchsorted(self.labels[order], np.arange(1, len(self.classes)))
        return np.split(order, ends)

    def with_rotations(self) -> "ImageSet":
        """Four times the classes: each turned by 0, 90, 180 and 270 degrees. InputError if not square."""
        height, length = self.images.shape[2:]
        if height != length:
            raise InputError(f"{height}×{length} pixels", "images", "use square ones, or leave rotations out")
        turned = [np.rot90(self.images, quarter, axes=(2, 3)) for quarter in range(4)]
        return replace(
            self,
            images=np.ascontiguousarray(np.concatenate(turned)),
            names=tuple(f"{name} turned {90 * quarter}" for quarter in range(4) for name in self.names),
            labels=np.concatenate([self.labels + quarter * len(self.classes) for quarter in range(4)]),
            classes=tuple(f"{name} turned {90 * quarter}" for quarter in range(4) for name in self.classes),
        )

    def reduced(self, factor: int) -> "ImageSet":
        """Sides divided by ``factor``: means of as many pixels, rounded. InputError if they do not fit."""
        count, channels, height, length = self.images.shape
        if factor < 1 or height % factor or length % factor:
            raise InputError(f"{height}×{length} pixels", "images", f"use sides that {factor} divides")
        blocks = self.images.reshape(count, channels, height // factor, factor, length // factor, factor)
        area = factor * factor
        sums = blocks.sum(axis=(3, 5), dtype=np.uint32)
        return replace(self, images=((sums + area // 2) // area).astype(np.uint8))


def read_images(path: Path, shape: ImageShape, *, labelled: bool, convert: bool = True) -> ImageSet:
    """Images of a folder, of one PNG or JPEG file, or of an .npz archive.

    A folder is read with all below it, in the order of its names; with ``labelled`` the folder that
    an image lies in is its class, named by its path. An archive has ``images`` uint8 [N, H, L] or
    [N, H, L, C] and, with ``labelled``, ``labels`` [N], integers or texts. Images of another size or
    mode are converted and counted, without ``convert`` an error. Transparent pixels become white.
    A file that cannot be read is skipped and listed in ``skipped``, never silently.
    Raises InputError: no such path, no images, none of them readable, no classes, an archive of
    another layout; with the path.
    """
    reader = _Reader(shape, convert)
    if path.suffix.lower() == ".npz" and path.is_file():
        return _read_archive(path, reader, labelled)
    if not path.exists():
        raise InputError("no such file or folder", str(path), "give a folder of PNG or JPEG images, or .npz")
    root = path if path.is_dir() else path.parent
    files = sorted(_image_files(path)) if path.is_dir() else [path]
    if not files:
        raise InputError("no image in this folder", str(path), "put PNG or JPEG files in it")
    kept = [(file, pixels) for file in files if (pixels := reader.read(file, str(file))) is not None]
    names = [str(file.relative_to(root)) for file, _ in kept]
    folders = [str(file.parent.relative_to(root)) for file, _ in kept] if labelled else None
    if labelled and any(file.parent == root for file in files):
        raise InputError("images outside of any class's folder", str(path), "make one folder per class")
    images = reader.image_set(path, [pixels for _, pixels in kept], names, folders)
    given = {str(file.parent.relative_to(root)) for file in files} if labelled else set()
    return replace(images, lost=tuple(sorted(given - set(images.classes))))


def _image_files(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith("."):
            yield file


def _read_archive(path: Path, reader: "_Reader", labelled: bool) -> ImageSet:
    arrays = load_arrays(path, ("images", "labels") if labelled else ("images",))
    images = arrays["images"]
    if (
        images.dtype != np.uint8
        or images.ndim not in (3, 4)
        or (images.ndim == 4 and images.shape[3] not in (1, 3, 4))
        or 0 in images.shape[1:]
    ):
        raise InputError(
            f"images of shape {images.shape} and dtype {images.dtype}",
            str(path),
            "give uint8 [N, height, length] or [N, height, length, channels]",
        )
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    labels = None
    if labelled:
        if arrays["labels"].shape != images.shape[:1] or arrays["labels"].dtype.kind not in "iuUS":
            raise InputError(
                f"labels of shape {arrays['labels'].shape} and dtype {arrays['labels'].dtype} for "
                f"{len(images)} images",
                str(path),
                "give one integer or text per image",
            )
        given = arrays["labels"]
        if given.dtype.kind == "S":
            given = np.char.decode(given, "utf-8", "backslashreplace")
        labels = given.tolist()
    pixels = [reader.fit(Image.fromarray(image), f"{path}, row {row}") for row, image in enumerate(images)]
    return reader.image_set(path, pixels, [str(row) for row in range(len(images))], labels)


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray]:
    """These arrays of a NumPy archive, without pickles; InputError if it is none or lacks one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except KeyError as error:
        raise InputError(
            f"no array {error.args[0]}", str(path), f"name the arrays {', '.join(names)}"
        ) from None
    except (OSError, ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"no readable NumPy archive ({error})", str(path), "write it with numpy.savez"
        ) from None


class _Reader:
    """Brings images into one shape and keeps account of what it did and skipped."""

    def __init__(self, shape: ImageShape, convert: bool) -> None:
        self.shape, self.convert = shape, convert
        self.skipped: list[str] = []
        self.converted: Counter[str] = Counter()

    def read(self, source: Path | IO[bytes], where: str) -> Pixels | None:
        """Pixels of an encoded image, None where it cannot be read (and is skipped)."""
        try:
            with Image.open(source, formats=("PNG", "JPEG")) as image:
                image.load()
        # Pillow's decoders raise SyntaxError for broken chunks.
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            self.skipped.append(f"{where}: no readable image ({' '.join(str(error).split())})")
            return None
        return self.fit(image, where)

    def fit(self, image: Image.Image, where: str) -> Pixels:
        """Pixels [C, H, L] of the shape; InputError where they would have to be converted and must not be."""
        shape, mode = self.shape, _CHANNEL_MODES[self.shape.channels]
        if image.mode not in _MODES:
            raise InputError(f"image of mode {image.mode}", where, "save it with 8 bits per channel")
        changes = []
        if image.mode != mode:
            changes.append(f"mode {image.mode} to {mode}")
        if image.size != (shape.length, shape.height):
            changes.append(f"{image.height}×{image.width} to {shape.height}×{shape.length} pixels")
        if changes and not self.convert:
            raise InputError(
                f"image needs conversion, {', '.join(changes)}", where, "convert it, or allow it"
            )
        self.converted.update(changes)
        if image.mode in _WITH_ALPHA or "transparency" in image.info:
            opaque = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque)
        image = image.convert(mode)
        if image.size != (shape.length, shape.height):
            # Pillow's bilinear filter covers the whole area of a pixel when it shrinks an image.
            image = image.resize((shape.length, shape.height), Image.Resampling.BILINEAR)
        return np.asarray(image, np.uint8).reshape(shape.height, shape.length, -1).transpose(2, 0, 1)

    def image_set(
        self, path: Path, pixels: list[Pixels], names: list[str], labels: list[str] | list[int] | None
    ) -> ImageSet:
        if not pixels:
            raise InputError(
                f"none of {len(self.skipped)} images readable" if self.skipped else "no images",
                str(path),
                "what is read here is images: give PNG or JPEG files, or an .npz with some",
            )
        classes, indices = np.unique(labels, return_inverse=True) if labels is not None else ((), ())
        return ImageSet(
            images=np.stack(pixels),
            names=tuple(names),
            labels=np.asarray(indices, np.int64),
            classes=tuple(str(name) for name in classes),
            skipped=tuple(self.skipped),
            converted=dict(self.converted),
            source=str(path),
        )


def decode_images(encoded: Iterable[bytes], shape: ImageShape, where: str) -> tuple[list[int], ImageSet]:
    """Images of encoded PNG or JPEG files in memory: which of them were readable, and those."""
    reader = _Reader(shape, convert=True)
    kept, pixels = [], []
    for index, content in enumerate(encoded):
        decoded = reader.read(io.BytesIO(content), f"{where}, image {index}")
        if decoded is not None:
            kept.append(index)
            pixels.append(decoded)
    return kept, reader.image_set(Path(where), pixels, [str(index) for index in kept], None)
