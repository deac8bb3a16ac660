"""Post-training quantisation of a kernel modulation network."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from adakern_spec.akm import AkmShape
from adakern_spec.errors import InputError
from adakern_spec.numbers import ACTIVATION_BITS, BIAS, Format

from ..adaptation import adapt, round_classifier
from ..akm_parameters import AkmParameters, kernels_of
from ..artifact import Artifact, quantise_maps
from ..kernel_update import KernelUpdate, digest_of_rest
from ..kernels import Border, Kernels, gates_of, largest_sigma
from ..models.akm import AKMConv2d
from ..models.akm_network import AkmNetwork
from ..reference.akm import AkmReference, downsample
from ..reference.conv import conv_stage
from ..reference.smoother import smooth
from ..report.quantisation import QuantisationReport
from .akm_layers import convs_of, float_layers, modulation, shape_of
from .akm_measure import compare_layers, error_shares
from .calibration import Calibration, calibrate, stage_formats
from .export import integers_of
from .tuning import Progress

STEPS = 4
"""What progress counts: formats, biases, layers compared, shares of the error."""


def quantise_akm(
    network: AkmNetwork,
    calibration: Calibration,
    *,
    weight_bits: int = 8,
    max_length: int | None = None,
    clip_sigma: bool = False,
    adapted: Sequence[AkmNetwork] = (),
    progress: Progress | None = None,
) -> Artifact[AkmParameters]:
    """Integers, formats and report of a kernel modulation network; see `adakern.quantize.quantise`.

    The formats are those of least squared error over the calibration images, of ``network`` and of
    ``adapted``, networks adapted from it whose kernels the device will be sent. Biases are then corrected.
    ``max_length`` is the images' unless given. The report is that of the first adapted network where the
    classifier of ``network`` is zero, so that its logits say nothing, and an update carries what was adapted.
    """
    images = calibration.maps
    wanted = (network.config.channels[0], network.config.height, network.config.length)
    if tuple(images.shape[1:]) != wanted or (calibration.lengths != wanted[2]).any():
        raise InputError(f"images of shape {tuple(images.shape)}", "calibration data", f"give [N, *{wanted}]")
    if max_length is not None and max_length < wanted[2]:
        raise InputError(
            f"hardware for {max_length} columns", "quantise", f"give {wanted[2]} or more, as the images have"
        )
    signed = calibration.smallest() < 0
    shape = shape_of(network, signed, weight_bits, wanted[2] if max_length is None else max_length)
    networks = [_in_double(one, clip_sigma) for one in (network, *adapted)]
    exact = networks[0]
    kernels = kernels_of(shape, *modulation(exact), Border(network.config.border))
    formats = [
        Format(ACTIVATION_BITS, signed),
        *(stage.output_format for stage in shape.stages),
    ]

    def seen() -> Iterator[list[Tensor]]:
        for one in networks:
            for maps, _ in calibration.batches():
                layers, _ = float_layers(one, maps.double())
                yield [maps.double(), *(layer.conv for layer in layers)]

    tell = progress or (lambda done, total: None)
    fractions = calibrate(seen, formats)
    tell(1, STEPS)
    parameters, fractions = _rounded(exact, shape, kernels, fractions)
    batches = [maps for maps, _ in calibration.batches()]
    parameters = _corrected(parameters, fractions, exact, batches)
    tell(2, STEPS)
    artifact = Artifact(
        parameters=parameters,
        fractions=fractions,
        float_parameters={name: v.detach().numpy().copy() for name, v in network.state_dict().items()},
        network=network.config.to_json(),
    )
    measured, follows = artifact, False
    if adapted and network.config.modulated and not parameters.class_weights.any():
        update = KernelUpdate.of(adapted[0], with_head=True)
        # Not if its convolutions were adapted too, which no update carries.
        follows = update.network == digest_of_rest(artifact.float_parameters, with_head=True)
        if follows:
            measured = adapt(artifact, update, clip_sigma=True)
            exact = _in_double(adapted[0], clip_sigma=True)
    layers = compare_layers(measured.parameters, measured.fractions, exact, batches)
    tell(3, STEPS)
    report = QuantisationReport(
        method="ptq",
        weight_bits=weight_bits,
        maps=len(images),
        layers=layers,
        shares=error_shares(measured.parameters, measured.fractions, exact, batches),
        adapted=follows,
    )
    tell(4, STEPS)
    return replace(artifact, report=report.to_json())


@torch.no_grad()
def _in_double(network: AkmNetwork, clip_sigma: bool) -> AkmNetwork:
    """A copy in float64, without a sigma above the built radius if they are to be clipped."""
    network = copy.deepcopy(network).double().eval()
    largest = largest_sigma(network.config.max_radius)
    for conv in convs_of(network) if clip_sigma else ():
        if isinstance(conv, AKMConv2d):
            conv.r.clamp_(-largest, largest)
    return network


@torch.no_grad()
def _rounded(
    network: AkmNetwork, shape: AkmShape, kernels: list[Kernels], wanted: Sequence[int]
) -> tuple[AkmParameters, tuple[int, ...]]:
    """Parameters, and the fraction bits of the input, of each conv and of the logits."""
    fractions = [float(wanted[0])]
    weights, biases, shifts = [], [], []
    for index, (stage, conv) in enumerate(zip(shape.stages, convs_of(network), strict=True)):
        bias = torch.zeros(stage.out_channels) if conv.bias is None else conv.bias
        f_y, f_accumulator = stage_formats(
            stage, conv.weight, bias, fractions[-1], float(wanted[index + 1]), f"convs.{index}"
        )
        f_w = (f_accumulator - fractions[-1]).view(-1, 1, 1, 1)
        weights.append(integers_of(conv.weight, f_w, stage.weight_format))
        biases.append(integers_of(bias, f_accumulator, BIAS))
        shifts.append((f_accumulator - f_y).numpy().astype(np.int64))
        fractions.append(f_y)
    classifier = network.classifier
    class_weights, class_biases, logit = round_classifier(
        classifier.weight.numpy(), classifier.bias.numpy(), int(fractions[-1])
    )
    parameters = AkmParameters(
        shape,
        tuple(weights),
        tuple(biases),
        tuple(shifts),
        tuple(layer.length for layer in kernels),
        tuple(layer.height for layer in kernels),
        tuple(layer.border for layer in kernels),
        class_weights,
        class_biases,
    )
    return parameters, (*(int(fraction) for fraction in fractions), logit)


def _corrected(
    parameters: AkmParameters, fractions: Sequence[int], network: AkmNetwork, batches: Sequence[Tensor]
) -> AkmParameters:
    """Biases moved so that each channel's mean over the images comes near the float network's.

    Layer by layer, each behind the corrected ones, then the classifier's: one Newton step on the mean
    behind the ReLU, whose slope in the bias is the gate times the share of active values (as in
    `adakern.quantize.bias`; what the zero padding takes at the edges is left out). Of a channel hardly
    above half a unit of its format so few values are active that their share is no slope: a step that ends
    more than a unit off, and further than it began, is not made.
    """
    shape = parameters.shape
    inputs = Format(ACTIVATION_BITS, shape.input_signed, fractions[0])
    integers = [quantise_maps(batch.numpy(), inputs) for batch in batches]
    exact = [float_layers(network, batch.double()) for batch in batches]
    gates = [gates_of(s) for s in modulation(network)[1]]
    biases = list(parameters.biases)
    for index, layer in enumerate(shape.layers):
        step = 2.0 ** -fractions[index + 1]
        wanted = _sums(layers[index].smoothed.numpy() / step for layers, _ in exact)
        old = _smoothed(parameters, index, biases[index], integers)
        lacking, active = wanted - _sums(old), _sums(y > 0 for y in old)
        moved = np.where(active > 0, lacking / np.maximum(active * gates[index], 1e-9), 0)
        bias = biases[index] + np.rint(moved * np.exp2(parameters.shifts[index])).astype(np.int64)
        new = _smoothed(parameters, index, bias, integers)
        values = sum(y[:, 0].size for y in new)
        kept = np.abs(wanted - _sums(new)) <= np.maximum(np.abs(lacking), values)
        biases[index] = np.where(kept, bias, biases[index])
        integers = [
            downsample(np.where(kept[:, None, None], *pair), layer.downsample)
            for pair in zip(new, old, strict=True)
        ]
    parameters = replace(parameters, biases=tuple(biases))
    reference = AkmReference(parameters)
    logits = np.concatenate([logits.numpy() for _, logits in exact])
    maps = [image for batch in batches for image in quantise_maps(batch.numpy(), inputs)]
    off = (logits * 2.0 ** fractions[-1] - reference.run(maps).logits).mean(axis=0)
    return replace(parameters, class_biases=parameters.class_biases + np.rint(off).astype(np.int64))


def _smoothed(
    parameters: AkmParameters, index: int, bias: np.ndarray, batches: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """What a layer with another bias makes of each batch, not downsampled."""
    weights, shift, kernels = parameters.weights[index], parameters.shifts[index], parameters.kernels(index)
    return [smooth(conv_stage(x, weights, bias, shift, relu=False), kernels) for x in batches]


def _sums(batches: Iterable[np.ndarray]) -> np.ndarray:
    """Of each channel, over all batches [B, C, H, L], float64."""
    return np.sum([batch.sum(axis=(0, 2, 3), dtype=np.float64) for batch in batches], axis=0)
