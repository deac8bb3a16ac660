"""Results made row by row: kept where they were made before, written after each, summed up over seeds."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from figures_file import save
from scipy import stats

Row = dict[str, Any]


def interval(values: list[float]) -> dict[str, float | int | None]:
    """Mean and half width of its 95% confidence interval (Student's t; None for a single value)."""
    count = len(values)
    half = None
    if count > 1:
        half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return {"mean": float(np.mean(values)), "interval95": half, "seeds": count}


def collect(
    out: Path,
    settings: dict[str, Any],
    wanted: Iterable[tuple[dict[str, Any], Callable[[], Row]]],
    summary: Callable[[list[Row]], Any],
) -> None:
    """Make the ``wanted`` rows and write them with their ``summary`` to ``out``, anew after each.

    Each is wanted as what identifies it, which becomes part of it, and what makes the rest. A row that a
    file of the same ``settings`` has is not made again.
    """
    settings = json.loads(json.dumps(settings))
    found: list[Row] = []
    if out.exists():
        report = json.loads(out.read_text())
        if {name: report.get(name) for name in settings} == settings:
            found = report["rows"]
    rows: list[Row] = []
    for key, make in wanted:
        known = next((row for row in found if key.items() <= row.items()), None)
        if known is None:
            known = key | make()
            print(json.dumps(known), flush=True)
        rows.append(known)
        later = [row for row in found if row not in rows]
        report = {**settings, "rows": rows + later, "summary": summary(rows + later)}
        save(out, report)
