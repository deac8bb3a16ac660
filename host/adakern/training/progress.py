"""Progress of a training run on the terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(visible: bool) -> Progress:
    """A bar on standard error; its tasks have a field ``figures``, shown at the end of the line."""
    return Progress(
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True),
        disable=not visible,
    )


def summary(loss: float, figures: Mapping[str, float] | None = None) -> str:
    """Loss and figures of merit in one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in {"loss": loss, **(figures or {})}.items())
