"""Losses and metrics against their definitions."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from adakern.training import TrainingSettings, mcrmse, metrics, roc_auc, task_loss
from adakern_spec.errors import InputError

NAN = float("nan")


def test_the_regression_loss_is_the_metric():
    generator = np.random.default_rng(0)
    outputs, targets = generator.normal(size=(2, 4, 7, 3))
    targets[1, 3:] = np.nan
    targets[2, :, 1] = np.nan
    columns = []
    for column in range(3):
        measured = ~np.isnan(targets[..., column])
        errors = (outputs - targets)[..., column][measured]
        columns.append(np.sqrt(np.mean(errors**2)))
    assert mcrmse(outputs, targets) == pytest.approx(np.mean(columns))
    loss = task_loss("position-regression", torch.from_numpy(outputs), torch.from_numpy(targets))
    assert loss.item() == pytest.approx(np.mean(columns), rel=1e-6)


def test_unmeasured_values_give_no_gradient():
    outputs = torch.zeros(2, 2, requires_grad=True)
    task_loss("regression", outputs, torch.tensor([[1.0, NAN], [2.0, NAN]])).backward()
    assert (outputs.grad[:, 0] != 0).all()
    assert not outputs.grad[:, 1].any()


def test_a_perfect_answer_has_a_finite_gradient():
    outputs = torch.ones(2, 1, requires_grad=True)
    task_loss("regression", outputs, torch.ones(2, 1)).backward()
    assert torch.isfinite(outputs.grad).all()


def test_infinite_targets_are_not_taken_for_unmeasured_ones():
    loss = task_loss("regression", torch.zeros(1, 1), torch.tensor([[float("inf")]]))
    assert not torch.isfinite(loss)


def test_the_classification_loss_is_cross_entropy():
    logits = torch.randn(5, 3)
    classes = torch.tensor([0, 2, 1, 1, 0])
    loss = task_loss("classification", logits, classes[:, None].float())
    torch.testing.assert_close(loss, -functional.log_softmax(logits, 1)[range(5), classes].mean())


def test_auc_counts_the_pairs_in_order():
    generator = np.random.default_rng(1)
    scores = generator.integers(0, 6, 40).astype(float)
    positive = generator.random(40) < 0.4
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]]
    assert roc_auc(scores, positive) == pytest.approx(np.mean(pairs))
    assert np.isnan(roc_auc(scores, np.ones(40, bool)))


def test_metrics_by_task():
    logits = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5], [0.2, 0.1]])
    figures = metrics("classification", logits, np.array([[0.0], [1.0], [1.0], [0.0]]))
    assert figures == {"accuracy": 0.75, "auc": 0.75}
    assert "auc" not in metrics("classification", np.eye(3), np.zeros((3, 1)))
    assert "auc" not in metrics("classification", np.eye(2), np.zeros((2, 1)))
    figures = metrics("regression", np.zeros((2, 2)), np.array([[3.0, 0.0], [NAN, 4.0]]))
    assert figures["rmse"] == pytest.approx(np.sqrt(25 / 3))
    assert figures["mcrmse"] == pytest.approx((3 + np.sqrt(8)) / 2)


def test_the_rate_warms_up_and_falls_to_zero():
    settings = TrainingSettings(learning_rate=1.0)
    rates = [settings.rate(step, 1000) for step in range(1000)]
    peak = int(np.argmax(rates))
    assert 90 <= peak <= 110
    assert rates[peak] == pytest.approx(1, abs=0.01)
    assert np.all(np.diff(rates[:peak]) > 0)
    assert np.all(np.diff(rates[peak:]) < 0)
    assert rates[-1] < 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": NAN},
        {"learning_rate": float("inf")},
        {"weight_decay": -1.0},
        {"spn_penalty": "l3"},
    ],
)
def test_bad_settings_are_refused(changes):
    with pytest.raises(InputError, match=next(iter(changes)).split("_")[-1]):
        TrainingSettings(**changes)
