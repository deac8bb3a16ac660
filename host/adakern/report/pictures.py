"""Pictures: what a model answered, and how its integers compare with floating point."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from adakern_spec.errors import InputError
from adakern_spec.numbers import SCALE, SCALE_MAX, SCALE_MIN

from ..files import write_atomically
from .trace import TraceReport

RECORDS_DRAWN = 12
"""Records in one picture; of more, the first are drawn and the title says so."""

IMAGES_DRAWN = 100
"""Images in one picture; of more, the first are drawn."""

_HEIGHT_COLOUR, _LENGTH_COLOUR, _MEAN_COLOUR = "#c44e52", "#4c72b0", "#dd8452"


@dataclass(frozen=True, eq=False)
class DrawnRecord:
    """One record for the picture.

    ``scales`` and ``kernels`` [iterations, 2] (height, length), kernels in pixels; ``activation``
    [H, length], the map to show, as real numbers; ``rows`` names its rows (may be empty).
    """

    id: str
    scales: np.ndarray
    kernels: np.ndarray
    activation: np.ndarray
    rows: Sequence[str] = ()


def picture_format(path: Path) -> str:
    """Format that the suffix of ``path`` names, PNG without one; InputError for one that cannot be drawn."""
    kind = path.suffix.lstrip(".").lower() or "png"
    if kind not in FigureCanvasAgg.get_supported_filetypes():
        raise InputError(f"no picture format {kind!r}", str(path), "use .png, .svg or .pdf")
    return kind


def draw_predictions(records: Sequence[DrawnRecord], path: Path) -> None:
    """Write a picture with one line per record: scales over the iterations, and the activation map.

    A frame on the map shows the last iteration's pooling kernel in its true size. The format follows the
    suffix of ``path``; the file is written atomically.
    """
    shown = list(records)[:RECORDS_DRAWN]
    widest = max(record.activation.shape[1] for record in shown)
    figure = Figure(figsize=(12, 0.9 + 1.9 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), 2, squeeze=False, width_ratios=(1, 3.2))
    for (left, right), record in zip(grid, shown, strict=True):
        _draw_scales(left, record)
        _draw_activation(right, record, widest)
    left, right = grid[0]
    left.legend(loc="lower left", bbox_to_anchor=(0, 1.12), ncols=2, frameon=False, fontsize=9)
    grid[-1][0].set_xlabel("iteration")
    grid[-1][1].set_xlabel("position")
    title = "Predicted kernel scales and the activation maps that they come from"
    if len(shown) < len(records):
        title += f" (the first {len(shown)} records)"
    figure.suptitle(title)
    _save(figure, path)


def _draw_scales(axes: Axes, record: DrawnRecord) -> None:
    iterations = np.arange(1, len(record.scales) + 1)
    for column, (name, colour) in enumerate((("height", _HEIGHT_COLOUR), ("length", _LENGTH_COLOUR))):
        axes.plot(iterations, record.scales[:, column], "o-", color=colour, label=f"scale {name}")
    axes.set_yscale("log", base=2)
    axes.set_ylim(SCALE.value(SCALE_MIN) / 1.1, SCALE.value(SCALE_MAX) * 1.1)
    axes.set_yticks([0.5, 1.0, 2.0], ["0.5", "1", "2"])
    axes.set_xticks(iterations)
    axes.set_xlim(0.7, len(iterations) + 0.3)
    axes.grid(alpha=0.3)
    axes.set_title(record.id, fontsize=10, loc="left")


def _draw_activation(axes: Axes, record: DrawnRecord, widest: int) -> None:
    height, length = record.activation.shape
    image = axes.imshow(record.activation, aspect="auto", cmap="viridis", interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, pad=0.01)
    axes.set_xlim(-0.5, widest - 0.5)
    if record.rows:
        axes.set_yticks(range(height), list(record.rows), fontsize=6)
    kernel_height, kernel_length = record.kernels[-1]
    corner = ((length - kernel_length) / 2 - 0.5, (height - kernel_height) / 2 - 0.5)
    axes.add_patch(Rectangle(corner, kernel_length, kernel_height, fill=False, color="white", linewidth=1.8))
    axes.set_title(
        f"{length} positions, kernel {kernel_height:.2f} × {kernel_length:.2f}", fontsize=10, loc="left"
    )


@dataclass(frozen=True, eq=False)
class DrawnImage:
    """One image for the picture: uint8 [C, H, L], its answer's name, whether that is known to be wrong."""

    pixels: np.ndarray
    name: str
    wrong: bool


def draw_classes(images: Sequence[DrawnImage], path: Path) -> None:
    """Write a picture with one line per class: the images that were given it, wrong ones framed.

    The format follows the suffix of ``path``; the file is written atomically.
    """
    names = sorted({image.name for image in images})
    lines = [[image for image in images if image.name == name] for name in names]
    columns = max(map(len, lines))
    figure = Figure(figsize=(1.6 + 0.8 * columns, 0.4 + 0.9 * len(lines)), layout="constrained")
    for axes_of_line, name, line in zip(
        figure.subplots(len(lines), columns, squeeze=False), names, lines, strict=True
    ):
        for axes, image in zip_longest(axes_of_line, line):
            axes.set(xticks=[], yticks=[], frame_on=image is not None and image.wrong)
            if image is not None:
                axes.imshow(_as_matplotlib(image.pixels), cmap="gray", vmin=0, vmax=255)
                for spine in axes.spines.values():
                    spine.set(color=_HEIGHT_COLOUR, linewidth=3)
        axes_of_line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    _save(figure, path)


def _as_matplotlib(pixels: np.ndarray) -> np.ndarray:
    """[C, H, L] to [H, L], or [H, L, C] where there are colours."""
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def draw_trace(report: TraceReport, path: Path) -> None:
    """Write the picture of a trace: per layer the float map, the difference and a scatter, then the answers.

    Maps are those of the channel with the most signal; the difference is float − integer, in units
    of the layer's last bit. The format follows the suffix of ``path``; written atomically.
    """
    stages = list(zip(report.layers, report.samples, strict=True))[:-1]
    figure = Figure(figsize=(13, 2.4 * (len(stages) + 1)), layout="constrained")
    grid = figure.subplots(len(stages) + 1, 3, squeeze=False, width_ratios=(2, 2, 1))
    answer = report.layers[-1].name
    # A sequence's map is drawn as wide as there is room, an image as it is.
    aspect = "equal" if answer == "logit" else "auto"
    for (left, middle, right), (layer, sample) in zip(grid, stages, strict=False):
        channel = int(np.square(sample.floats).sum(axis=(1, 2)).argmax())
        exact = sample.floats[channel]
        error = (exact - sample.integers[channel]) * 2.0**layer.frac
        bound = max(float(np.abs(error).max()), 0.5)
        figure.colorbar(left.imshow(exact, aspect=aspect, cmap="viridis", interpolation="nearest"), ax=left)
        image = middle.imshow(
            error, aspect=aspect, cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="nearest"
        )
        figure.colorbar(image, ax=middle)
        left.set_title(f"{layer.name}: float, channel {channel}", fontsize=10, loc="left")
        middle.set_title("float − integer, last bits", fontsize=10, loc="left")
        sqnr = "exact" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f} dB"
        _scatter(right, sample.floats.ravel(), sample.integers.ravel(), f"SQNR {sqnr}")
    _draw_sqnr(grid[-1][0], report)
    _draw_layer_errors(grid[-1][1], report)
    answers = report.samples[-1]
    title = f"{answer}s, max error {report.layers[-1].error_max:.4f}"
    _scatter(grid[-1][2], answers.floats, answers.integers, title)
    figure.suptitle(f"Float against integers: {report.maps} maps, pictures of the first")
    _save(figure, path)


def _scatter(axes: Axes, exact: np.ndarray, integers: np.ndarray, title: str) -> None:
    axes.scatter(exact, integers, s=4, alpha=0.4, color=_LENGTH_COLOUR, linewidths=0, rasterized=True)
    low, high = float(min(exact.min(), integers.min())), float(max(exact.max(), integers.max()))
    axes.plot([low, high], [low, high], color="black", linewidth=0.8)
    axes.set_xlabel("float", fontsize=8)
    axes.set_ylabel("integer", fontsize=8)
    axes.set_title(title, fontsize=10, loc="left")


def _draw_sqnr(axes: Axes, report: TraceReport) -> None:
    known = [(layer.name, layer.sqnr_db) for layer in report.layers if layer.sqnr_db is not None]
    bars = axes.bar([name for name, _ in known], [sqnr for _, sqnr in known], color=_LENGTH_COLOUR)
    axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.margins(y=0.15)
    axes.set_title("SQNR [dB], all maps", fontsize=10, loc="left")


def _draw_layer_errors(axes: Axes, report: TraceReport) -> None:
    names = [layer.name for layer in report.layers]
    places = np.arange(len(names))
    axes.bar(
        places - 0.2, [layer.error_max for layer in report.layers], 0.4, label="max", color=_HEIGHT_COLOUR
    )
    axes.bar(
        places + 0.2, [layer.error_mean for layer in report.layers], 0.4, label="mean", color=_MEAN_COLOUR
    )
    axes.set_yscale("log")
    axes.set_xticks(places, names)
    axes.legend(fontsize=8)
    axes.set_title("error, all maps", fontsize=10, loc="left")


def _save(figure: Figure, path: Path) -> None:
    canvas = FigureCanvasAgg(figure)
    kind = picture_format(path)
    write_atomically(path, lambda temporary: canvas.print_figure(temporary, format=kind, dpi=130))
