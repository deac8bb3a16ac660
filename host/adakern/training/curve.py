"""Learning curve: JSON for machines, a picture for people."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from adakern.files import write_atomically

Epochs = Sequence[dict[str, Any]]
"""One entry per epoch: ``epoch``, ``loss``, ``scales`` (mean height, mean length), ``seconds`` and, where
there are validation records, ``validation`` (figures by name)."""

_LINE = ".-"
"""With a marker: a curve of a single entry has no line."""


def save_curve(path: Path, epochs: Epochs) -> None:
    """Write the curve as JSON."""
    text = json.dumps(list(epochs), indent=1)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))


def draw_curve(path: Path, epochs: Epochs) -> None:
    """Write a PNG of the curve: losses and validation figures above, mean scales below."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    numbers = [entry["epoch"] for entry in epochs]
    upper.plot(numbers, [entry["loss"] for entry in epochs], _LINE, label="training loss")
    for name in epochs[-1].get("validation", {}):
        upper.plot(
            numbers, [entry["validation"][name] for entry in epochs], _LINE, label=f"validation {name}"
        )
    upper.legend()
    upper.set_title("Learning curve")
    for index, direction in enumerate(("height", "length")):
        lower.plot(numbers, [entry["scales"][index] for entry in epochs], _LINE, label=f"scale {direction}")
    lower.legend()
    lower.set_xlabel("epoch")
    lower.set_ylabel("mean scale")
    write_atomically(path, lambda temporary: FigureCanvasAgg(figure).print_png(temporary))


def draw_episode_curve(path: Path, entries: Epochs) -> None:
    """Write a PNG of a meta-training's curve.json: loss above, shares of right answers below."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    numbers = [entry["iteration"] for entry in entries]
    upper.plot(numbers, [entry["loss"] for entry in entries], _LINE, label="query loss after adaptation")
    upper.legend()
    upper.set_title("Learning curve")
    for name in ("accuracy", "validation"):
        if name in entries[-1]:
            lower.plot(numbers, [entry[name] for entry in entries], _LINE, label=name)
    lower.legend()
    lower.set_xlabel("iteration")
    lower.set_ylabel("right answers")
    write_atomically(path, lambda temporary: FigureCanvasAgg(figure).print_png(temporary))
