"""Training: reproducible, resumable to the bit, and it learns."""

import itertools
import json

import numpy as np
import pytest
import torch

from adakern.data import SequenceRecord
from adakern.models import EncoderConfig, load_encoder
from adakern.training import TrainingSettings, TrainingStopped, evaluate, joint, train
from adakern_spec.errors import AdakernError, ArtifactError, InputError

CONFIG = EncoderConfig(
    channels=2, spn_channels=(2, 2, 2), head_width=4, head_dilations=(1,), outputs=1, dropout=0.2
)
SETTINGS = TrainingSettings(epochs=3, batch_size=4, seed=5)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def constructs(count=12, task="position-regression", seed=0):
    """Random RNA whose targets follow from its letters."""
    generator = np.random.default_rng(seed)
    records = []
    for index in range(count):
        sequence = "".join(generator.choice(list("ACGU"), generator.integers(5, 12)))
        is_a = np.array([letter == "A" for letter in sequence], np.float32)
        targets = {
            "position-regression": is_a[:4, None],
            "regression": is_a.mean(keepdims=True),
            "classification": np.float32([is_a.mean() > 0.25]),
        }[task]
        records.append(SequenceRecord(str(index), sequence, targets=targets))
    return records


def weights(encoder):
    return {name: value.clone() for name, value in encoder.state_dict().items()}


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def interrupt_at_batch(monkeypatch, number):
    """Ctrl-C in the middle of the given batch, counted from 1 over all epochs."""
    counter = itertools.count(1)
    step = joint._Run._step

    def interrupted(self, *arguments):
        if next(counter) == number:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(joint._Run, "_step", interrupted)


def test_the_same_seed_gives_the_same_weights(tmp_path):
    one = train(CONFIG, constructs(), tmp_path / "one", SETTINGS)
    torch.manual_seed(99)
    two = train(CONFIG, constructs(), tmp_path / "two", SETTINGS)
    other = train(CONFIG, constructs(), tmp_path / "other", TrainingSettings(epochs=3, batch_size=4, seed=6))
    assert_same_weights(weights(one.encoder), weights(two.encoder))
    assert not torch.equal(one.encoder.conv.weight, other.encoder.conv.weight)


def test_training_leaves_the_callers_randomness_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(CONFIG, constructs(), tmp_path, SETTINGS)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("batch", [1, 3, 4, 8])
def test_an_interrupted_run_ends_as_if_it_had_never_stopped(tmp_path, monkeypatch, batch):
    whole = train(CONFIG, constructs(), tmp_path / "whole", SETTINGS)
    with monkeypatch.context() as patch:
        interrupt_at_batch(patch, batch)
        with pytest.raises(TrainingStopped, match=f"stopped after epoch {(batch - 1) // 3} of 3"):
            train(CONFIG, constructs(), tmp_path / "halves", SETTINGS)
    assert not (tmp_path / "halves" / "encoder.safetensors").exists()
    resumed = train(CONFIG, constructs(), tmp_path / "halves", SETTINGS)
    assert_same_weights(weights(resumed.encoder), weights(whole.encoder))
    losses = [[entry["loss"] for entry in result.curve] for result in (whole, resumed)]
    assert losses[0] == losses[1]


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    first = train(CONFIG, constructs(), tmp_path, SETTINGS)
    interrupt_at_batch(monkeypatch, 1)
    again = train(CONFIG, constructs(), tmp_path, SETTINGS)
    assert_same_weights(weights(again.encoder), weights(first.encoder))


@pytest.mark.parametrize(
    ("config", "records", "settings", "named"),
    [
        (CONFIG, constructs(), TrainingSettings(epochs=4, batch_size=4, seed=5), "epochs 3, not 4"),
        (
            EncoderConfig(**{**CONFIG.to_json(), "head_width": 5}),
            constructs(),
            SETTINGS,
            "head_width 4, not 5",
        ),
        (CONFIG, constructs(seed=1), SETTINGS, "other records"),
    ],
)
def test_a_folder_with_another_run_is_refused(tmp_path, config, records, settings, named):
    train(CONFIG, constructs(), tmp_path, SETTINGS)
    with pytest.raises(InputError, match=f"a run with {named}; give the same again"):
        train(config, records, tmp_path, settings)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    train(CONFIG, constructs(), tmp_path, SETTINGS)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="unreadable"):
        train(CONFIG, constructs(), tmp_path, SETTINGS)


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("task", ["position-regression", "regression", "classification"])
def test_every_task_learns(tmp_path, task, adaptive):
    outputs = 2 if task == "classification" else 1
    config = EncoderConfig(
        **{
            **CONFIG.to_json(),
            "task": task,
            "outputs": outputs,
            "adaptive": adaptive,
            "head_width": 12,
            "dropout": 0.0,
        }
    )
    records = constructs(48, task)
    result = train(config, records, tmp_path, TrainingSettings(epochs=25, batch_size=16, learning_rate=2e-2))
    losses = [entry["loss"] for entry in result.curve]
    assert losses[-1] < 0.6 * losses[0]
    figures, scales = evaluate(result.encoder, records)
    assert all(np.isfinite(value) for value in figures.values())
    assert ((scales >= 0.5) & (scales <= 2)).all()


def test_what_a_run_leaves_behind(tmp_path):
    result = train(CONFIG, constructs(), tmp_path, SETTINGS, validation=constructs(6, seed=1))
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint.safetensors",
        "curve.json",
        "curve.png",
        "encoder.safetensors",
    }
    assert json.loads((tmp_path / "curve.json").read_text()) == list(result.curve)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert [entry["epoch"] for entry in result.curve] == [1, 2, 3]
    assert_same_weights(weights(load_encoder(result.path)), weights(result.encoder))
    figures, _ = evaluate(result.encoder, constructs(6, seed=1))
    assert result.curve[-1]["validation"] == figures


def test_progress_stays_off_the_standard_output(tmp_path, capsys):
    train(CONFIG, constructs(), tmp_path, SETTINGS, progress=True)
    captured = capsys.readouterr()
    assert not captured.out
    assert "epoch" in captured.err


def test_the_penalty_shrinks_the_spn(tmp_path):
    size = {}
    for weight in (0.0, 1.0):
        settings = TrainingSettings(
            epochs=5, batch_size=4, spn_penalty="l1", spn_penalty_weight=weight, spn_rate_factor=1.0
        )
        encoder = train(CONFIG, constructs(), tmp_path / str(weight), settings).encoder
        size[weight] = float(encoder.spn.regularisation("l1").detach())
    assert size[1.0] < 0.9 * size[0.0]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    records = constructs()
    records[3] = SequenceRecord("bad", "ACGUA", targets=np.full((1, 1), np.inf, np.float32))
    with pytest.raises(AdakernError, match=r"epoch 1, batch \d: loss inf"):
        train(CONFIG, records, tmp_path, SETTINGS)


@pytest.mark.parametrize(
    ("changes", "records", "named"),
    [
        ({}, [], "no records"),
        ({"outputs": 2}, constructs(), "1 target columns"),
        ({"height": 13}, constructs(), "13 rows for alphabet rna"),
        ({"alphabet": "klingon"}, constructs(), "klingon"),
        ({"task": "regression"}, constructs(), "targets of shape"),
        (
            {"task": "classification", "outputs": 2},
            [SequenceRecord("a", "ACG", targets=np.float32([2]))],
            "class index",
        ),
    ],
)
def test_unfit_records_are_refused(tmp_path, changes, records, named):
    config = EncoderConfig(**{**CONFIG.to_json(), **changes})
    with pytest.raises(InputError, match=named):
        train(config, records, tmp_path, SETTINGS)


def test_a_column_that_was_never_measured_is_refused(tmp_path):
    records = constructs()
    unmeasured = [SequenceRecord("a", "ACGUA", targets=np.full((3, 1), np.nan, np.float32))]
    config = EncoderConfig(**{**CONFIG.to_json(), "output_names": ("reactivity",)})
    with pytest.raises(InputError, match="training records: no measured value in target column reactivity"):
        train(config, unmeasured, tmp_path, SETTINGS)
    with pytest.raises(InputError, match="validation records: no measured value in target column 1"):
        train(CONFIG, records, tmp_path, SETTINGS, validation=unmeasured)


def test_validation_records_of_one_class_leave_no_figure_undefined(tmp_path):
    config = EncoderConfig(**{**CONFIG.to_json(), "task": "classification", "outputs": 2})
    records = constructs(task="classification")
    one_class = [record for record in records if record.targets[0] == 1]
    result = train(config, records, tmp_path, SETTINGS, validation=one_class)
    assert json.dumps(result.curve, allow_nan=False)


def test_the_rate_follows_the_schedule_through_all_epochs(tmp_path, monkeypatch):
    rates = []
    step = joint._Run._step

    def recorded(self, batch, rate, where):
        rates.append(rate)
        return step(self, batch, rate, where)

    monkeypatch.setattr(joint._Run, "_step", recorded)
    train(CONFIG, constructs(), tmp_path, SETTINGS)
    assert rates == [SETTINGS.rate(index, 9) for index in range(9)]
