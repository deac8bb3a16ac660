"""Learning curve: JSON for machines, a picture for people."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from adakern.files import write_atomically


def save_curve(folder: Path, epochs: Sequence[dict[str, Any]]) -> None:
    """Write ``curve.json`` and ``curve.png``: loss, validation figure and mean scales by epoch.

    Each entry of ``epochs`` holds ``epoch``, ``loss``, ``scales`` (mean height, mean length) and, where
    there are validation records, ``validation`` (figures by name).
    """
    text = json.dumps(list(epochs), indent=1)
    write_atomically(folder / "curve.json", lambda path: path.write_text(text + "\n"))
    figure = _draw(epochs)
    write_atomically(folder / "curve.png", lambda path: FigureCanvasAgg(figure).print_png(path))


def _draw(epochs: Sequence[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(7, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    numbers = [entry["epoch"] for entry in epochs]
    upper.plot(numbers, [entry["loss"] for entry in epochs], label="training loss")
    for name in epochs[-1].get("validation", {}):
        upper.plot(numbers, [entry["validation"][name] for entry in epochs], label=f"validation {name}")
    upper.legend()
    upper.set_title("Learning curve")
    for index, direction in enumerate(("height", "length")):
        lower.plot(numbers, [entry["scales"][index] for entry in epochs], label=f"scale {direction}")
    lower.legend()
    lower.set_xlabel("epoch")
    lower.set_ylabel("mean scale")
    return figure
