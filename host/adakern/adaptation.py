"""An adaptation in integers: other widths and gates, and another classifier, for a quantised network."""

from dataclasses import replace
from typing import Any

import numpy as np

from adakern_spec.akm import LOGIT
from adakern_spec.errors import InputError
from adakern_spec.numbers import MEAN, MEAN_EXTRA_BITS, Format

from .akm_parameters import CLASS_WEIGHT, AkmParameters, kernels_of
from .artifact import Artifact
from .kernel_update import KernelUpdate, digest_of_rest
from .kernels import Border

_CANDIDATES = 4
"""Formats tried for the classifier's weights: the one that just holds the largest, then ever finer ones."""


def adapt(
    artifact: Artifact[AkmParameters],
    update: KernelUpdate,
    clip_sigma: bool = False,
    where: str = "adaptation",
) -> Artifact[AkmParameters]:
    """The artifact with the r and s of ``update``, and with its classifier if it has one.

    Everything else stays, so that `Device.update` sends no more than that. Needs no torch. ``where`` names
    the update in messages. Raises InputError, naming layer and channel, for a sigma above the built radius
    (unless ``clip_sigma`` makes it the largest that fits) and for an update of another network, if it says
    of which.
    """
    parameters, shape = artifact.parameters, artifact.shape
    if artifact.network is None or not artifact.network["modulated"]:
        raise InputError("a network without r and s", "adaptation", "quantise an AKM network")
    _check_origin(artifact, update, where)
    border = Border(artifact.network["border"])
    parameters = parameters.with_kernels(kernels_of(shape, update.r, update.s, border, clip_sigma))
    fractions = artifact.fractions
    floats = dict(artifact.float_parameters)
    if update.classes and len(update.classes) != shape.classes:
        raise InputError(
            f"names of {len(update.classes)} classes", where, f"adapt to {shape.classes} classes"
        )
    for name, values in (("r", update.r), ("s", update.s)):
        for layer, value in enumerate(values):
            old = floats[f"convs.{layer}.{name}"]
            floats[f"convs.{layer}.{name}"] = np.broadcast_to(value, old.shape or (1,)).reshape(old.shape)
    if update.class_weights is not None and update.class_biases is not None:
        weights, biases = update.class_weights, update.class_biases
        if weights.shape != (shape.classes, shape.features) or biases.shape != (shape.classes,):
            raise InputError(
                f"classifier of {weights.shape[0]} classes on {weights.shape[-1]} channels",
                where,
                f"adapt to {shape.classes} classes, the network has {shape.features} channels",
            )
        class_weights, class_biases, logit = round_classifier(weights, biases, fractions[-2])
        parameters = replace(parameters, class_weights=class_weights, class_biases=class_biases)
        fractions = (*fractions[:-1], logit)
        floats |= {"classifier.weight": weights, "classifier.bias": biases}
    return replace(artifact, parameters=parameters, fractions=fractions, float_parameters=floats)


def _check_origin(artifact: Artifact[AkmParameters], update: KernelUpdate, where: str) -> None:
    """InputError for an update of another network: other layers or channels, or other weights."""
    mend = "adapt the learner that this model was quantised from"
    shape = artifact.shape
    wanted = [shape.records(layer) for layer in range(len(shape.layers))]
    found = [values.size for values in update.r]
    if len(found) != len(wanted) or any(
        n not in (1, records) for n, records in zip(found, wanted, strict=True)
    ):
        sizes = ", ".join(map(str, found)), ", ".join(map(str, wanted))
        raise InputError(
            f"made for another network: its layers have {sizes[0]} values of r, this one's {sizes[1]}",
            where,
            mend,
        )
    if update.network and update.network != digest_of_rest(artifact.float_parameters, update.carries_head):
        raise InputError("made for another network, with other weights than this one", where, mend)


def round_classifier(weights: Any, biases: Any, fraction: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Integers of a classifier on features of ``fraction`` bits, and the fraction bits of its logits.

    The logits are compared, so all weights share one exponent: that of least squared error, or fewer bits
    where the worst logit would not fit.
    """
    weights, biases = np.asarray(weights, np.float64), np.asarray(biases, np.float64)
    largest = np.abs(weights).max()
    exact = np.floor(np.log2(CLASS_WEIGHT.max / largest)) if largest > 0 else 0
    tried = [int(exact) + finer for finer in range(_CANDIDATES)]
    errors = [np.square(weights - _rounded(weights, f, CLASS_WEIGHT) * 2.0**-f).sum() for f in tried]
    best = tried[int(np.argmin(errors))]
    mean = fraction + MEAN_EXTRA_BITS
    while True:
        integers = _rounded(weights, best, CLASS_WEIGHT)
        room = LOGIT.max - MEAN.max * int(np.abs(integers).sum(axis=1).max())
        if np.abs(biases).max() * 2.0 ** (mean + best) <= room:
            return integers, _rounded(biases, mean + best, LOGIT), mean + best
        best -= 1


def _rounded(values: np.ndarray, fraction: int, fmt: Format) -> np.ndarray:
    """floor(v · 2^f + 1/2), saturated."""
    return np.clip(np.floor(values * 2.0**fraction + 0.5), fmt.min, fmt.max).astype(np.int64)
