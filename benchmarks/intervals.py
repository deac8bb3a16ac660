"""Means with their confidence."""

import numpy as np
from scipy import stats


def interval(values: list[float]) -> dict[str, float | int | None]:
    """Mean and half width of its 95% confidence interval (Student's t; None for a single value)."""
    count = len(values)
    half = None
    if count > 1:
        half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return {"mean": float(np.mean(values)), "interval95": half, "seeds": count}
