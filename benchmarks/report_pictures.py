"""Picture of docs/experiments.md: what each variant reaches, from result files."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from adakern.files import write_atomically

Result = dict[str, Any]


def draw_experiments(path: Path, omniglot: Result, cifar: Result) -> None:
    """Few-shot accuracy of each inner loop; accuracy over the severity of the corruptions."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _few_shot(left, omniglot)
    _severities(right, cifar)
    # Without the version of the library that drew it: the same figures, the same bytes.
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=110, metadata={"Software": None}))


def _few_shot(axes: Axes, result: Result) -> None:
    means = result["summary"]
    variants = list(dict.fromkeys(one["variant"] for one in means))
    shots = sorted({one["shots"] for one in means})
    height = 0.8 / len(shots)
    for index, count in enumerate(shots):
        own = {one["variant"]: one for one in means if one["shots"] == count}
        places = np.arange(len(variants)) + index * height
        axes.barh(
            places,
            [100 * own[name]["mean"] for name in variants],
            height,
            xerr=[100 * own[name]["interval95"] for name in variants],
            label=f"{count} shot{'s' if count > 1 else ''}",
        )
    axes.axvline(20, color="grey", linestyle=":", label="chance")
    axes.set_yticks(np.arange(len(variants)) + height * (len(shots) - 1) / 2, variants)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="accuracy, %", title="Omniglot, 5-way: what the inner loop adapts")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.13), ncols=3, frameon=False)


def _severities(axes: Axes, result: Result) -> None:
    rows = result["rows"]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        # Runs by severities: the clean images, then means over the corruptions.
        runs = np.array(
            [
                [row["clean"], *np.mean(list(row["corrupted"].values()), axis=0)]
                for row in rows
                if row["variant"] == variant
            ]
        )
        severities = np.arange(runs.shape[1])
        (line,) = axes.plot(severities, 100 * runs.mean(axis=0), marker="o", label=variant)
        axes.fill_between(
            severities, 100 * runs.min(axis=0), 100 * runs.max(axis=0), color=line.get_color(), alpha=0.15
        )
    axes.set_xticks(severities, ["clean", *map(str, severities[1:])])
    axes.set(
        xlabel="severity, mean over the corruptions",
        ylabel="accuracy, %",
        title="CIFAR-10 (quality-75 JPEG), CIFAR-10-C-style",
    )
    axes.legend()
