"""The inner loop against one written out with torch.autograd, task by task; episodes; runs that resume."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import image
from torch.func import functional_call
from torch.nn import functional

from adakern.data.images import ImageSet
from adakern.models import AkmNetwork, AkmNetworkConfig
from adakern.models.akm_network import is_kernel_parameter
from adakern.training import meta_run
from adakern.training.curve import draw_episode_curve
from adakern.training.episodes import EpisodeSampler, EpisodeShape, shifted
from adakern.training.maml import SCOPES, InnerLoop, MetaLearner
from adakern.training.meta_run import MetaSettings, measure, meta_train
from adakern_spec.errors import AdakernError, ArtifactError, InputError

CONFIG = AkmNetworkConfig(
    channels=(1, 4, 4), height=6, length=6, downsample=("stride2", "none"), classes=3, max_radius=2
)
SHAPE = EpisodeShape(ways=3, shots=2, queries=2)


def image_set(classes=6, each=5, seed=0, side=6):
    """Each class a pattern of its own, with noise."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 200, (classes, 1, 1, side, side))
    images = patterns + rng.integers(0, 40, (classes, each, 1, side, side))
    order = rng.permutation(classes * each)
    return ImageSet(
        images=images.reshape(-1, 1, side, side).astype(np.uint8)[order],
        labels=np.repeat(np.arange(classes), each)[order],
        classes=tuple(f"class {index}" for index in range(classes)),
    )


def learner(scope="all", seed=0, config=CONFIG, **options):
    torch.manual_seed(seed)
    rates = {"rate": 0.1, "r_rate": 1.0, "s_rate": 1.0, "head_rate": 2.0, "later_head_rate": 2.0}
    made = MetaLearner(AkmNetwork(config), InnerLoop(scope=scope, **rates | options))
    for name, rate in made.log_rates.items():
        rate.data += 0.1 * torch.arange(rate.numel()) - 0.3 * name.endswith("s")
    return made.double()


def episodes(seed=1, dtype=torch.float64):
    drawn = EpisodeSampler(image_set(), SHAPE).sample(3, (seed,))
    return dataclasses.replace(drawn, support=drawn.support.to(dtype), query=drawn.query.to(dtype))


def written_out(made, drawn, task):
    """MAML's inner loop as its paper has it, one task, with plain automatic differentiation.

    Query scores, the classes in order.
    """
    values = dict(made.network.named_parameters())
    order = list(range(3))
    if not made.loop.adapts_head:
        scores = made.network(drawn.support[task])
        order = list(min(itertools.permutations(range(3)), key=lambda o: loss_of(scores[:, list(o)], drawn)))
    if made.loop.adapts_head:
        values |= {name: 0 * value for name, value in values.items() if name.startswith("classifier.")}
    values = {
        name: value if value.requires_grad else value.requires_grad_() for name, value in values.items()
    }
    for step in range(made.loop.steps):
        scores = functional_call(made.network, values, (drawn.support[task],))
        loss = functional.cross_entropy(scores[:, order], drawn.support_labels)
        names = [name for name in values if made.loop.covers(name)]
        slopes = torch.autograd.grad(loss, [values[name] for name in names], create_graph=True)
        if made.loop.first_order:
            slopes = [slope.detach() for slope in slopes]
        for name, slope in zip(names, slopes, strict=True):
            rate = made.log_rates[name.replace(".", "/")][step].exp()
            values = values | {name: values[name] - rate * slope}
    return functional_call(made.network, values, (drawn.query[task],))[:, order]


def loss_of(scores, drawn):
    return float(functional.cross_entropy(scores.detach(), drawn.support_labels))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("first_order", [False, True])
def test_query_is_the_written_out_loop(scope, first_order):
    """Losses, answers and the outer gradient in every parameter and rate, all steps of it."""
    made, drawn = learner(scope, steps=3, first_order=first_order), episodes()
    losses, accuracies = made.query(drawn)
    losses.mean().backward()
    found = {name: p.grad for name, p in made.named_parameters() if p.requires_grad}

    made.zero_grad()
    scores = [written_out(made, drawn, task) for task in range(3)]
    expected = torch.stack([functional.cross_entropy(one, drawn.query_labels) for one in scores])
    torch.testing.assert_close(losses, expected)
    shares = [(one.argmax(dim=1) == drawn.query_labels).double().mean() for one in scores]
    torch.testing.assert_close(accuracies.double(), torch.stack(shares))
    expected.mean().backward()
    for name, gradient in found.items():
        own = made.get_parameter(name).grad
        torch.testing.assert_close(gradient, torch.zeros_like(gradient) if own is None else own, msg=name)


def test_second_order_differs_from_first():
    gradients = []
    for first_order in (False, True):
        made = learner(steps=2, first_order=first_order)
        made.query(episodes())[0].mean().backward()
        gradients.append(made.network.convs[0].weight.grad)
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3 * gradients[1].abs().max()


@pytest.mark.parametrize("scope", SCOPES)
def test_adaptation_changes_the_scope_and_nothing_else(scope):
    made, drawn = learner(scope).float(), episodes(dtype=torch.float32)
    adapted, labels = made.adapt(drawn.support[0], drawn.support_labels)
    before = made.network.state_dict()
    for name, value in adapted.state_dict().items():
        changes = {"all": True, "head": False}.get(scope, is_kernel_parameter(name))
        if name.startswith("classifier."):
            changes = scope != "kernel"
        assert (not torch.equal(value, before[name])) is changes, name
    answers = torch.tensor(labels)[adapted(drawn.query[0]).argmax(dim=1)]
    right = (answers == drawn.query_labels).double().mean()
    torch.testing.assert_close(right, made.query(drawn)[1][0].double())


def test_adaptation_lowers_the_support_loss():
    made, drawn = learner(steps=3).float(), episodes(dtype=torch.float32)
    adapted, labels = made.adapt(drawn.support[0], drawn.support_labels)
    assert labels == [0, 1, 2]
    scores = adapted(drawn.support[0])
    assert float(functional.cross_entropy(scores.detach(), drawn.support_labels)) < np.log(3)


def test_all_assignments_of_outputs_occur():
    """Random tasks ask for every order, and the host's choice is no worse than any other before adapting."""
    made, drawn = learner("kernel"), EpisodeSampler(image_set(), SHAPE).sample(60, (0,))
    found = set()
    for support in drawn.support.double():
        start = made.start(3)
        chosen = tuple(made.outputs(start, support, drawn.support_labels).tolist())
        scores = made.network(support)
        losses = {order: loss_of(scores[:, list(order)], drawn) for order in itertools.permutations(range(3))}
        assert losses[chosen] == min(losses.values())
        found.add(chosen)
    assert len(found) == 6


def test_adapted_outputs_stand_for_the_labels_they_say():
    """The query's loss again, task by task, whatever order of the outputs a task asks for."""
    made = learner("kernel").float()
    drawn = EpisodeSampler(image_set(), SHAPE).sample(12, (2,))
    orders = set()
    for support, query, loss in zip(drawn.support, drawn.query, made.query(drawn)[0], strict=True):
        adapted, labels = made.adapt(support, drawn.support_labels)
        by_class = adapted(query)[:, [labels.index(name) for name in range(3)]]
        torch.testing.assert_close(functional.cross_entropy(by_class, drawn.query_labels), loss)
        orders.add(tuple(labels))
    assert {(1, 2, 0), (2, 0, 1)} & orders  # orders that are not their own inverse


def test_any_number_of_ways_fits_a_classifier_that_starts_at_zero():
    drawn = EpisodeSampler(image_set(), EpisodeShape(ways=5, shots=1, queries=2)).sample(2, (0,))
    made = learner("kernel+head").float()
    assert made.query(drawn)[0].isfinite().all()
    assert made.adapt(drawn.support[0], drawn.support_labels)[0].config.classes == 5
    with pytest.raises(InputError, match="classifier of 3"):
        learner("kernel").float().query(drawn)


def test_kernel_scope_needs_an_akm_network():
    plain = dataclasses.replace(CONFIG, modulated=False)
    with pytest.raises(InputError, match="without r and s"):
        learner("kernel", config=plain)
    with pytest.raises(InputError, match="without r and s"):
        learner("kernel+head", config=plain)


def test_file_gives_the_learner_back(tmp_path: Path):
    made = learner("kernel+head", steps=3).float()
    made.save(tmp_path / "learner.safetensors")
    loaded = MetaLearner.load(tmp_path / "learner.safetensors")
    assert loaded.loop == made.loop
    assert loaded.network.config == made.network.config
    for name, value in made.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    (tmp_path / "learner.safetensors").write_bytes(b"no")
    with pytest.raises(ArtifactError, match="meta-train"):
        MetaLearner.load(tmp_path / "learner.safetensors")


def test_another_loop_keeps_the_network():
    made = learner("head").float()
    kernel = made.with_loop(InnerLoop(scope="kernel"))
    assert torch.equal(kernel.network.convs[0].weight, made.network.convs[0].weight)
    assert kernel.network.classifier.weight.requires_grad
    assert kernel.network.classifier.weight.abs().max() > 0
    assert set(kernel.log_rates) == {f"convs/{i}/{kind}" for i in range(2) for kind in "rs"}
    longer = made.with_loop(InnerLoop(scope="all", steps=3, head_rate=7.0, later_head_rate=5.0))
    known = made.log_rates["classifier/bias"]
    assert torch.equal(longer.log_rates["classifier/bias"], torch.cat([known, torch.tensor([5.0]).log()]))


# Episodes


def test_episodes_have_the_classes_they_say():
    """Patterns tell the classes apart, so each image's class can be found again."""
    images = image_set()
    drawn = EpisodeSampler(images, SHAPE).sample(50, (3,))
    of_image = {image.tobytes(): label for image, label in zip(images.images, images.labels, strict=True)}
    seen = set()
    for support, query in zip(drawn.support, drawn.query, strict=True):
        found = []
        for part, labels in ((support, drawn.support_labels), (query, drawn.query_labels)):
            names = [of_image[(256 * image).to(torch.uint8).numpy().tobytes()] for image in part]
            found.append(
                {
                    int(label): {n for n, other in zip(names, labels, strict=True) if other == label}
                    for label in labels
                }
            )
        assert found[0] == found[1]
        assert all(len(names) == 1 for names in found[0].values())
        assert len(set.union(*found[0].values())) == SHAPE.ways
        everything = [image.numpy().tobytes() for image in torch.cat([support, query])]
        assert len(set(everything)) == len(everything)
        seen |= set.union(*found[0].values())
    assert seen == set(range(6))


def test_seed_gives_the_episodes():
    sampler = EpisodeSampler(image_set(), SHAPE)
    assert torch.equal(sampler.sample(2, (1, 2)).query, sampler.sample(2, (1, 2)).query)
    assert not torch.equal(sampler.sample(2, (1, 2)).query, sampler.sample(2, (1, 3)).query)


def test_shifted_images_are_moved_and_repeat_the_edge():
    image = torch.arange(12.0).reshape(1, 1, 3, 4).repeat(3, 2, 1, 1)
    image[:, 1] += 100
    moves = torch.tensor([[0, 1, -1], [0, -2, 1]])
    moved = shifted(image, moves)
    assert torch.equal(moved[0], image[0])
    assert torch.equal(moved[1, 0], torch.tensor([[2.0, 3, 3, 3], [2, 3, 3, 3], [6, 7, 7, 7]]))
    assert torch.equal(moved[2, 1], 100 + torch.tensor([[4.0, 4, 5, 6], [8, 8, 9, 10], [8, 8, 9, 10]]))


def test_shift_leaves_no_image_out_of_reach():
    """All moves occur, none is longer than asked for."""
    ramp = np.arange(36, dtype=np.uint8).reshape(1, 1, 6, 6).repeat(30, axis=0)
    images = dataclasses.replace(image_set(), images=ramp)
    drawn = EpisodeSampler(images, SHAPE, shift=1).sample(100, (0,)).support.flatten(0, 1)
    centres = (256 * drawn[:, 0, 2, 2]).to(torch.int64)
    assert set(centres.tolist()) == {row * 6 + column for row in (1, 2, 3) for column in (1, 2, 3)}


def test_class_with_too_few_images_is_named():
    images = image_set()
    rare = dataclasses.replace(images, labels=np.where(np.arange(30) < 3, 0, np.maximum(images.labels, 1)))
    with pytest.raises(InputError, match="'class 0' has 3 images, 2 shots and 2 queries need 4"):
        EpisodeSampler(rare, SHAPE)
    with pytest.raises(InputError, match="6 classes for 7 ways"):
        EpisodeSampler(images, EpisodeShape(ways=7))


def test_set_with_too_few_is_named(tmp_path: Path):
    made, images = learner().float(), image_set()
    with pytest.raises(InputError, match=r"^training images: 2 classes for 3 ways"):
        meta_train(made, image_set(classes=2), tmp_path, SHAPE, SETTINGS, validation=images)
    with pytest.raises(InputError, match=r"^validation images: 2 classes for 3 ways"):
        meta_train(made, images, tmp_path, SHAPE, SETTINGS, validation=image_set(classes=2))


def test_folder_that_cannot_be_written_is_told_before_the_first_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(meta_run._Run, "stretch", lambda run: pytest.fail("trained"))
    with pytest.raises(AdakernError, match="cannot write"):
        run(tmp_path / "file")


def test_one_class_is_no_task():
    with pytest.raises(InputError, match="images of a single class; give two classes or more"):
        learner().adapt(episodes().support[0], torch.zeros(6, dtype=torch.int64))


@pytest.mark.parametrize("fields", [{"ways": 1}, {"shots": 0}, {"queries": 0}])
def test_bad_shapes_are_refused(fields):
    with pytest.raises(InputError):
        EpisodeShape(**fields)


# Runs

SETTINGS = MetaSettings(iterations=9, tasks=2, every=4, validation_episodes=4, learning_rate=1e-2)


def run(out, *, settings=SETTINGS, scope="all", images=None):
    made = learner(scope).float()
    return meta_train(made, images or image_set(), out, SHAPE, settings, validation=image_set(seed=9))


def test_meta_training_learns(tmp_path: Path):
    result = run(tmp_path, settings=dataclasses.replace(SETTINGS, iterations=120, every=40))
    sampler = EpisodeSampler(image_set(classes=8, seed=5), SHAPE)
    before = measure(learner().float().eval(), sampler, 40, seed=0).mean()
    after = measure(result.learner, sampler, 40, seed=0).mean()
    assert after > max(0.7, before)
    assert result.curve[-1]["loss"] < 0.7 * result.curve[0]["loss"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_interrupted_run_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = run(tmp_path / "whole")
    calls = 0
    step = meta_run._Run._step

    def interrupted(self, iteration):
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return step(self, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(meta_run._Run, "_step", interrupted)
        with pytest.raises(AdakernError, match="stopped after iteration 6 of 9"):
            run(tmp_path / "cut")
        # A second time in the middle of the same stretch, ahead of its first iteration.
        calls = 6
        with pytest.raises(AdakernError, match="stopped after iteration 6 of 9"):
            run(tmp_path / "cut")
    resumed = run(tmp_path / "cut")
    assert [entry["iteration"] for entry in resumed.curve] == [4, 8, 9]
    for name, value in whole.learner.state_dict().items():
        assert torch.equal(value, resumed.learner.state_dict()[name]), name
    figures = [{k: v for k, v in entry.items() if k != "seconds"} for entry in whole.curve]
    assert figures == [{k: v for k, v in entry.items() if k != "seconds"} for entry in resumed.curve]


def test_a_run_that_is_stopped_in_its_first_iteration_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(self, iteration):
        raise KeyboardInterrupt

    monkeypatch.setattr(meta_run._Run, "_step", interrupted)
    with pytest.raises(AdakernError, match="stopped before the first iteration was whole; run it again"):
        run(tmp_path)
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_curve_of_one_point_shows_it(tmp_path: Path):
    drawn = []
    for accuracy in (0.2, 0.9):
        draw_episode_curve(tmp_path / "curve.png", [{"iteration": 3, "loss": 1.0, "accuracy": accuracy}])
        drawn.append(image.imread(tmp_path / "curve.png")[..., :3])
    # Away from the axes' texts a line's or marker's blue is all that is coloured.
    assert all(np.ptp(pixels[300:480, 200:500], axis=2).max() > 0.3 for pixels in drawn)


def test_folder_of_another_run_is_refused(tmp_path: Path):
    run(tmp_path)
    with pytest.raises(InputError, match="a run with scope 'all', not 'head'; give the same again"):
        run(tmp_path, scope="head")
    with pytest.raises(InputError, match="a run with iterations 9, not 8"):
        run(tmp_path, settings=dataclasses.replace(SETTINGS, iterations=8))
    with pytest.raises(InputError, match="other images"):
        run(tmp_path, images=image_set(seed=3))


def test_divergence_is_told(tmp_path: Path):
    with pytest.raises(AdakernError, match="lower the learning rate"):
        run(tmp_path, settings=dataclasses.replace(SETTINGS, iterations=50, learning_rate=1e30))


def test_measure_is_the_same_every_time():
    made, sampler = learner().float().eval(), EpisodeSampler(image_set(), SHAPE)
    assert len(measure(made, sampler, 7, seed=1)) == 7
    np.testing.assert_array_equal(measure(made, sampler, 4, seed=1), measure(made, sampler, 4, seed=1))
