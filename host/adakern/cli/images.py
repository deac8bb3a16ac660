"""Images on the command line: reading them, and ``adakern predict`` of a kernel modulation network."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adakern_spec.akm import AkmShape
from adakern_spec.errors import ArtifactError, InputError

from .console import emit, progress, say, show
from .records import ResultsFile, resumable

if TYPE_CHECKING:
    import numpy as np

    from ..artifact import Artifact
    from ..data.images import ImageSet

ClipSigma = Annotated[
    bool, typer.Option("--clip-sigma", help="Of widths above the built radius take the largest that fits.")
]

Adaptation = Annotated[
    Path | None,
    typer.Option("--adapt", help="Images: adapt first, to what adakern adapt wrote.", show_default=False),
]

PAGE = 200
"""Rows of one table."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as a device takes it, [C, H, L], and where it came from."""

    id: str
    values: "np.ndarray"


def read_pixels(path: Path, config: Mapping[str, Any], labelled: bool) -> "ImageSet":
    """Images of the channels and size that ``config``, an AkmNetworkConfig's JSON, names.

    What was done to them is said.
    """
    from ..data.images import ImageShape, read_images

    shape = ImageShape(config["channels"][0], config["height"], config["length"])
    images = read_images(path, shape, labelled=labelled)
    for line in images.messages():
        say(line)
    return images


def images_for(artifact: "Artifact", path: Path) -> "tuple[ImageSet, np.ndarray]":
    """Images as an artifact's network takes them, and their values from 0 to 1, float32 [N, C, H, L]."""
    import numpy as np

    from ..data.images import PIXEL_SCALE

    if artifact.network is None:
        raise ArtifactError("no float network in the artifact", "model", "quantise an AkmNetwork")
    images = read_pixels(path, artifact.network, labelled=False)
    return images, images.images.astype(np.float32) * PIXEL_SCALE


def require_kernels(loaded: "Artifact", adaptation: Path | None) -> None:
    """InputError for an adaptation of a model that has no r and s."""
    if adaptation is not None and not isinstance(loaded.shape, AkmShape):
        raise InputError("a scale prediction network has no kernels to adapt", "--adapt", "leave it out")


def adapted_model(
    loaded: "Artifact", adaptation: Path | None, clip_sigma: bool
) -> "tuple[Artifact, tuple[str, ...]]":
    """The model with an update of r and s, if one is given, and the names of its classes.

    It is said where all classes are equal because no classifier was adapted.
    """
    from ..adaptation import adapt
    from ..kernel_update import KernelUpdate

    names: tuple[str, ...] = ()
    if adaptation is not None:
        update = KernelUpdate.load(adaptation)
        loaded, names = adapt(loaded, update, clip_sigma, str(adaptation)), update.classes
    if not loaded.parameters.class_weights.any():
        say("warning: the classifier is zero until a task adapts it, all classes are equal; give --adapt")
    return loaded, names


def predict_images(
    loaded: "Artifact",
    input: Path,
    *,
    device: str | None,
    output: Path | None,
    resume: bool,
    adaptation: Path | None,
    clip_sigma: bool,
    multipliers: int,
    picture: Path | None,
    json: bool,
) -> None:
    """Classes of images on a device; adapted ahead of the first if ``adaptation`` is given.

    Where every image lies in a folder that has the name of a class, it is said how many are right.
    """
    from .. import registry
    from ..artifact import quantise_maps

    model, names = adapted_model(loaded, adaptation, clip_sigma)
    images, values = images_for(loaded, input)
    score = _Score(images.names, names)
    drawn = _Drawing(picture, images, score)
    pictures: Iterator[Picture] = (
        Picture(name, quantise_maps(value, loaded.input_format))
        for name, value in zip(images.names, values, strict=True)
    )
    parameter_crc = f"{model.parameters.crc:08x}"
    step = 2.0 ** -model.fractions[-1]
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        results = None
        if output is not None:
            results = stack.enter_context(ResultsFile(output, resume, parameter_crc))
            pictures = results.skip(pictures)
        stack.enter_context(resumable(results))
        opened = stack.enter_context(registry.open(device, loaded, multipliers=multipliers, status=say))
        if adaptation is not None:
            opened.update(model.parameters)
        counter = stack.enter_context(progress("predicting", len(images.images), "images", not json))
        waiting: list[str] = []

        def maps() -> "Iterator[np.ndarray]":
            for picture in pictures:
                waiting.append(picture.id)
                yield picture.values

        if not json and results is None:
            stack.callback(_show, rows)
        for count, prediction in enumerate(opened.stream(maps()), start=1):
            best = max(range(len(prediction.logits)), key=prediction.logits.__getitem__)
            row = {
                "id": waiting[count - 1],
                "class": best,
                "name": names[best] if names else str(best),
                "logits": [logit * step for logit in prediction.logits],
                "cycles": prediction.cycles,
                "parameter_crc": f"{prediction.parameter_crc:08x}",
            }
            score.add(row)
            drawn.add(row)
            if results is not None:
                results.append(row)
            if json:
                emit(row, indent=None)
            elif results is None:
                rows.append(row)
            counter(count)
    drawn.finish()
    if score.judges:
        say(f"{score.right} of {score.count} right, by the names of their folders")
    if results is not None:
        say(f"{results.count} results in {output}")


class _Score:
    """Counts right answers, if every image lies in a folder with the name of a class."""

    def __init__(self, ids: Sequence[str], names: Sequence[str]) -> None:
        self.judges = all(Path(id).parent.name in names for id in ids)
        self.right = self.count = 0

    def is_right(self, row: dict[str, Any]) -> bool:
        return Path(row["id"]).parent.name == row["name"]

    def add(self, row: dict[str, Any]) -> None:
        self.count += 1
        self.right += self.is_right(row)


class _Drawing:
    """The first answers, drawn at the end."""

    def __init__(self, path: Path | None, images: "ImageSet", score: _Score) -> None:
        self._path, self._score = path, score
        self._images = dict(zip(images.names, images.images, strict=True)) if path is not None else {}
        self._rows: list[dict[str, Any]] = []
        if path is not None:
            from ..report.pictures import picture_format

            picture_format(path)

    def add(self, row: dict[str, Any]) -> None:
        from ..report.pictures import IMAGES_DRAWN

        if self._path is not None and len(self._rows) < IMAGES_DRAWN:
            self._rows.append(row)

    def finish(self) -> None:
        """Write the picture, if one is wanted."""
        if self._path is None or not self._rows:
            return
        from ..report.pictures import DrawnImage, draw_classes

        judges = self._score.judges
        drawn = [
            DrawnImage(self._images[row["id"]], row["name"], judges and not self._score.is_right(row))
            for row in self._rows
        ]
        draw_classes(drawn, self._path)
        say(f"picture in {self._path}")


def _show(rows: list[dict[str, Any]]) -> None:
    """Answers as tables of `PAGE` rows."""
    from rich.table import Table

    for first in range(0, len(rows), PAGE):
        table = Table()
        table.add_column("id")
        for heading in ("class", "logit", "ahead by", "cycles"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows[first : first + PAGE]:
            second, best = sorted(row["logits"])[-2:]
            table.add_row(row["id"], row["name"], f"{best:.4f}", f"{best - second:.4f}", f"{row['cycles']:,}")
        show(table)
