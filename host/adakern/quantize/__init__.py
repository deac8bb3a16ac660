"""Quantise a trained network: float model in, integer artifact out.

Post-training quantisation chooses formats from calibration data; quantisation-aware training then
lets the rounded network adapt. Both run on Brevitas' layers with power-of-two scales and the
hardware's rounding. Needs torch.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from torch import nn

from adakern_spec.errors import InputError
from adakern_spec.network import SpnShape
from adakern_spec.numbers import ACTIVATION_BITS, Format

from ..artifact import Artifact
from ..models.akm_network import AkmNetwork
from ..models.pooling import AdaptiveAnisotropicPool
from ..models.restore import float_model
from ..report.quantisation import QuantisationReport
from .akm import quantise_akm
from .bias import correct_biases
from .calibration import Calibration, calibrate_activations, set_formats
from .export import to_parameters
from .golden import GoldenNetwork, GoldenResult, GoldenStage, golden
from .layers import QuantisedSpn
from .measure import compare, error_shares, layer_formats, layer_values
from .support import Float, checked_kernel, unwrap
from .tuning import Progress, fine_tune

__all__ = ["Calibration", "GoldenNetwork", "GoldenResult", "GoldenStage", "float_model", "golden", "quantise"]

Method = Literal["ptq", "qat"]


def quantise(
    network: nn.Module,
    calibration: Calibration,
    *,
    method: Method = "ptq",
    weight_bits: int = 8,
    epochs: int = 20,
    learning_rate: float = 3e-4,
    seed: int = 0,
    pool: AdaptiveAnisotropicPool | None = None,
    max_length: int | None = None,
    clip_sigma: bool = False,
    adapted: Sequence[AkmNetwork] = (),
    progress: Progress | None = None,
) -> Artifact:
    """Integers, formats and report of a trained network; the network itself is left as it is.

    Parameters
    ----------
    network : AdaptiveEncoder, ScalePredictionNetwork or AkmNetwork
        An SPN alone needs ``pool``, whose base sizes and bounds go into the artifact.
    calibration : Calibration
        Inputs of the network: of the encoder, or activation maps for an SPN alone. Every iteration's
        activation maps count. Images for an AKM network, all lengths theirs.
    method : "ptq" or "qat"
        "ptq": activation formats by least squared error over the calibration data, weight formats by
        least squared error per output channel, then bias correction. "qat": that, then ``epochs``
        of training against the float network's answers on the same data; the best epoch counts. Not
        for an AKM network.
    weight_bits : 8 or 4
    max_length : longest valid length of the hardware to run on; part of the spec digest. An AKM network's
        is that of its images if not given, else as long as there is.
    clip_sigma : an AKM network's widths above the built radius become the largest that fits; else ShapeError.
    adapted : networks adapted from the AKM network, whose kernels the device will be sent: their
        activations count for the formats too.
    progress : called with (done, all) after each epoch, or step of an AKM network's quantisation.

    The input is signed if the data has negative values, else unsigned. The same arguments give the
    same artifact, byte for byte once saved. Raises ShapeError for what the hardware cannot hold
    (non-finite weights, layers, kernels, accumulators over 32 bit, gain and offset), naming layer and
    channel; InputError for unusable calibration data.
    """
    if method not in get_args(Method):
        raise InputError(f"method {method!r}", "quantise", f"use one of {', '.join(get_args(Method))}")
    if isinstance(network, AkmNetwork):
        if method != "ptq":
            raise InputError(f"method {method!r}", "quantise", "use ptq for a kernel modulation network")
        return quantise_akm(
            network,
            calibration,
            weight_bits=weight_bits,
            max_length=max_length,
            clip_sigma=clip_sigma,
            adapted=adapted,
            progress=progress,
        )
    source = unwrap(network, pool)
    kernel = checked_kernel(source.spn)
    data = calibration if source.encoder is None else calibration.activation_maps(source.encoder)
    if data.maps.shape[1] != source.spn.channels[0]:
        raise InputError(
            f"maps of shape {tuple(data.maps.shape)}",
            "calibration data",
            f"give [N, {source.spn.channels[0]}, H, L]",
        )
    signed = data.smallest() < 0
    longest = SpnShape.max_length if max_length is None else max_length
    shape = SpnShape(source.spn.channels, data.maps.shape[2], kernel, weight_bits, signed, longest)
    formats = [Format(ACTIVATION_BITS, signed), *(stage.output_format for stage in shape.stages)]
    fractions = calibrate_activations(source.spn, data, formats)
    rounded = QuantisedSpn(shape)
    rounded.copy_float(source.spn)
    set_formats(rounded, fractions)
    correct_biases(rounded, source.spn, data)
    unrounded = source.spn
    if method == "qat":
        fine_tune(
            rounded,
            source,
            calibration,
            data,
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            progress=progress,
        )
        unrounded = rounded.to_float(source.spn)
    parameters, fractions = to_parameters(rounded, source.pool)
    values = layer_values(parameters, fractions, source.spn, data)
    report = QuantisationReport(
        method=method,
        weight_bits=weight_bits,
        maps=len(data.lengths),
        layers=compare(layer_formats(parameters, fractions), values),
        shares=error_shares(parameters, fractions, unrounded, data),
    )
    return Artifact(
        parameters=parameters,
        fractions=fractions,
        float_parameters=_float_parameters(source),
        encoder=None if source.encoder is None else source.encoder.config.to_json(),
        report=report.to_json(),
    )


def _float_parameters(source: Float) -> dict[str, np.ndarray]:
    """State of the whole encoder, or the SPN's under ``spn.``."""
    if source.encoder is not None:
        state = source.encoder.state_dict()
    else:
        state = {f"spn.{name}": values for name, values in source.spn.state_dict().items()}
    return {name: values.detach().numpy().copy() for name, values in state.items()}
