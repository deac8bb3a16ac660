"""Training of encoders: settings, losses and metrics, checkpoints, learning curve."""

from .checkpoint import TrainingStopped
from .joint import TrainingResult, evaluate, train
from .objectives import mcrmse, metrics, roc_auc, task_loss
from .settings import TrainingSettings

__all__ = [
    "TrainingResult",
    "TrainingSettings",
    "TrainingStopped",
    "evaluate",
    "mcrmse",
    "metrics",
    "roc_auc",
    "task_loss",
    "train",
]
