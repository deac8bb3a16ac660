"""Losses and metrics of the three tasks; targets that are NaN were not measured and do not count."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from adakern.models.encoder import Task

_ROOT_FLOOR = 1e-8
"""Added under the square root: its derivative at zero is infinite."""


def task_loss(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Scalar to minimise: cross entropy, or the mean over columns of the RMSE (the metric itself).

    Classification: outputs [B, classes] logits, targets [B, 1] class indices. Regression: both
    [B, columns]; per position both [B, L, columns]. Columns without a measured value count as 0.
    """
    if task == "classification":
        return functional.cross_entropy(outputs, targets[:, 0].long())
    measured = ~targets.isnan()
    squares = (outputs - targets.masked_fill(~measured, 0)).square() * measured
    rows = tuple(range(targets.ndim - 1))
    mean = squares.sum(rows) / measured.sum(rows).clamp(min=1)
    return (mean + _ROOT_FLOOR).sqrt().mean()


def column_rmse(outputs: NDArray[np.floating], targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """RMSE of every column over all measured values, NaN where there are none; both [..., columns]."""
    squares = np.square(outputs.astype(np.float64) - targets).reshape(-1, targets.shape[-1])
    measured = np.count_nonzero(~np.isnan(squares), axis=0)
    return np.sqrt(np.nansum(squares, axis=0) / np.where(measured, measured, np.nan))


def mcrmse(outputs: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """Mean over columns of the RMSE over all measured values."""
    return float(column_rmse(outputs, targets).mean())


def roc_auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: chance that a positive outranks a negative, ties counting half.

    NaN where one of the two is absent.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # Mean rank of every group of equal scores, ranks from 1 (Mann–Whitney U).
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def metrics(task: Task, outputs: NDArray[np.floating], targets: NDArray[np.floating]) -> dict[str, float]:
    """Figures of merit of a whole data set, by name.

    Classification: ``accuracy``, and ``auc`` for two classes that both occur. Regression: ``rmse`` over
    all values and ``mcrmse``. Shapes as in ``task_loss``; every column has a measured value.
    """
    if task == "classification":
        classes = targets[:, 0].astype(np.int64)
        figures = {"accuracy": float((outputs.argmax(axis=1) == classes).mean())}
        if outputs.shape[1] == 2 and len(np.unique(classes)) == 2:
            figures["auc"] = roc_auc(outputs[:, 1] - outputs[:, 0], classes == 1)
        return figures
    rmse = float(column_rmse(outputs.reshape(-1, 1), targets.reshape(-1, 1))[0])
    return {"rmse": rmse, "mcrmse": mcrmse(outputs, targets)}
