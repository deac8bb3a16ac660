"""``adakern meta-train`` and ``adakern adapt``: a network that learns to adapt, and its adaptation."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adakern_spec.errors import InputError

from .console import Interrupted, Json, Threads, emit
from .images import read_pixels
from .learn import fields_of

if TYPE_CHECKING:
    from ..data.images import ImageSet
    from ..models import AkmNetworkConfig
    from ..training.maml import MetaLearner

LEARNER = "learner.safetensors"
"""What meta-training leaves in its folder, and what a folder stands for when it is adapted."""


class Scope(StrEnum):
    """What the inner loop changes."""

    ALL = "all"
    KERNEL = "kernel"
    KERNEL_AND_HEAD = "kernel+head"
    HEAD = "head"


def meta_train(
    data: Annotated[
        Path, typer.Argument(help="Images: a folder with one folder per class, or .npz.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the run; one that exists is resumed.", show_default=False)
    ],
    validation: Annotated[
        Path | None, typer.Option(help="Images of other classes, which only measure.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="JSON file with fields of the network's configuration.", show_default=False),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(help="Learner, or its folder, whose network is where to start.", show_default=False),
    ] = None,
    ways: Annotated[int, typer.Option(min=2, help="Classes of an episode.")] = 5,
    shots: Annotated[int, typer.Option(min=1, help="Images of each to adapt to.")] = 1,
    queries: Annotated[int, typer.Option(min=1, help="Images of each to measure on.")] = 5,
    scope: Annotated[
        Scope, typer.Option(help="What adapts: everything, r and s, these and the classifier, or that alone.")
    ] = Scope.KERNEL_AND_HEAD,
    steps: Annotated[int, typer.Option(min=1, help="Of the inner loop.")] = 2,
    first_order: Annotated[
        bool, typer.Option("--first-order", help="Leave the second derivatives out.")
    ] = False,
    rotations: Annotated[
        bool,
        typer.Option("--rotations", help="Turned by 90, 180 and 270 degrees, images are further classes."),
    ] = False,
    shift: Annotated[
        int, typer.Option(min=0, help="Move training images by up to so many pixels, at random.")
    ] = 0,
    iterations: Annotated[int, typer.Option(min=1)] = 2000,
    tasks: Annotated[int, typer.Option(min=1, help="Episodes per iteration, in parallel.")] = 8,
    learning_rate: Annotated[float, typer.Option()] = 3e-3,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Meta-train an AKM network (MAML) on N-way K-shot episodes of labelled images.

    Checkpoint, curve and learner lie in --out. The same command goes on where a stopped one was.
    """
    from ..models import AkmNetwork, AkmNetworkConfig

    if start is not None and config is not None:
        raise InputError("both --start and --config", "command line", "the start has its configuration")
    known = {"classes": ways} | fields_of(config, AkmNetworkConfig)
    shape = _learner(start).network.config if start is not None else AkmNetworkConfig.from_json(known)
    images = _labelled(data, shape, rotations)
    measured = _labelled(validation, shape, rotations) if validation is not None else None

    import torch

    from ..training import TrainingStopped
    from ..training.episodes import EpisodeShape
    from ..training.maml import InnerLoop, MetaLearner
    from ..training.meta_run import MetaSettings
    from ..training.meta_run import meta_train as run

    if threads is not None:
        torch.set_num_threads(threads)
    loop = InnerLoop.of(scope.value, steps, first_order)
    settings = MetaSettings(
        iterations=iterations, tasks=tasks, learning_rate=learning_rate, seed=seed, shift=shift
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if start is not None:
            learner = _learner(start).with_loop(loop)
        else:
            learner = MetaLearner(AkmNetwork(shape), loop)
    try:
        result = run(
            learner,
            images,
            out,
            EpisodeShape(ways, shots, queries),
            settings,
            validation=measured,
            progress=not json,
        )
    except TrainingStopped as stopped:
        raise Interrupted(str(stopped)) from None
    parameters = result.learner.network.parameter_count()
    if json:
        skipped = sum(len(found.skipped) for found in (images, measured) if found is not None)
        emit(
            {
                "learner": str(result.path),
                "parameters": parameters,
                "skipped": skipped,
                "curve": list(result.curve),
            }
        )
    else:
        print(f"learner of {parameters:,} parameters in {result.path}")


def adapt(
    learner: Annotated[
        Path, typer.Argument(help="Learner made by adakern meta-train, or its folder.", show_default=False)
    ],
    support: Annotated[
        Path,
        typer.Argument(help="Images: a folder with one folder per class, or .npz.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Write r and s, and an adapted classifier (.safetensors).", show_default=False),
    ] = None,
    network: Annotated[
        Path | None, typer.Option(help="Write the whole adapted network (.safetensors).", show_default=False)
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Images of the same classes to measure on.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Adapt a meta-trained network to the classes of a few images.

    With a learner that adapts r and s (and classifier), --out is all that a running device needs: it takes
    as many classes as the learner's configuration says. --network and --test take any number of them where
    the classifier adapts.
    """
    given = _learner(learner)
    scope = given.loop.scope
    if out is not None and scope == "all":
        raise InputError(
            "this learner adapts the convolutions too", str(learner), "write the network with --network"
        )
    if out is not None and not given.network.config.modulated:
        raise InputError(
            "this learner's network has no r and s", str(learner), "write the network with --network"
        )
    if out is None and network is None and test is None:
        raise InputError("nothing to do", "command line", "give --out, --network or --test")
    shape = given.network.config
    images = _labelled(support, shape)
    if images.lost:
        raise InputError(
            f"class {images.lost[0]!r} has no readable image", str(support), "mend its images or remove it"
        )
    if out is not None and given.loop.adapts_head and len(images.classes) != shape.classes:
        raise InputError(
            f"{len(images.classes)} classes, a device of this learner takes {shape.classes}",
            str(support),
            f"give {shape.classes}, or write the whole network with --network",
        )
    measured = _labelled(test, shape) if test is not None else None
    if measured is not None and measured.classes != images.classes:
        raise InputError("other classes than the support images", str(test), "use the same folders' names")

    import numpy as np
    import torch

    from ..kernel_update import KernelUpdate
    from ..models import save_network
    from ..training.episodes import as_inputs

    adapted, outputs = given.adapt(as_inputs(images), torch.from_numpy(images.labels))
    classes = tuple(images.classes[label] for label in outputs)
    report: dict[str, object] = {
        "classes": list(classes),
        "scope": scope,
        "images": len(images.images),
        "skipped": len(images.skipped),
    }
    if out is not None:
        update = KernelUpdate.of(adapted, given.loop.adapts_head, classes)
        update.save(out)
        report["update"] = str(out)
        report |= {name: [layer.tolist() for layer in getattr(update, name)] for name in ("r", "s")}
        if update.class_weights is not None and update.class_biases is not None:
            report["class_weights"] = update.class_weights.tolist()
            report["class_biases"] = update.class_biases.tolist()
    if network is not None:
        save_network(network, adapted)
        report["network"] = str(network)
    if measured is not None:
        with torch.no_grad():
            answers = np.array(outputs)[adapted(as_inputs(measured)).argmax(dim=1).numpy()]
        report["accuracy"] = float((answers == measured.labels).mean())
    if json:
        emit(report)
        return
    sent = "r, s and classifier" if given.loop.adapts_head else "r and s"
    for name, what in (("update", sent), ("network", "adapted network")):
        if name in report:
            print(f"{what} in {report[name]}")
    if measured is not None:
        print(f"{report['accuracy']:.1%} of {len(measured.images)} images right")


def _learner(path: Path) -> "MetaLearner":
    from ..training.maml import MetaLearner

    return MetaLearner.load(path / LEARNER if path.is_dir() else path)


def _labelled(path: Path, config: "AkmNetworkConfig", rotations: bool = False) -> "ImageSet":
    images = read_pixels(path, config.to_json(), labelled=True)
    return images.with_rotations() if rotations else images
