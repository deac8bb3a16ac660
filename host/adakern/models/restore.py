"""The float model back from an artifact: for comparison, and for what the host runs around the SPN."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from adakern_spec.errors import AdakernError, ArtifactError

from ..artifact import Artifact
from .akm_network import AkmNetwork, AkmNetworkConfig
from .encoder import AdaptiveEncoder, EncoderConfig
from .spn import ScalePredictionNetwork

_SPN = "spn."


def float_model(artifact: Artifact) -> AdaptiveEncoder | ScalePredictionNetwork | AkmNetwork:
    """The float model that was quantised, in evaluation mode: the artifact's encoder, else the network alone.

    A device takes the place of the encoder's ``spn`` (`Device.as_module`). Raises ArtifactError if the
    float parameters do not fit the configuration.
    """
    model: AdaptiveEncoder | ScalePredictionNetwork | AkmNetwork
    try:
        if artifact.network is not None:
            model = AkmNetwork(AkmNetworkConfig.from_json(dict(artifact.network)))
            model.load_state_dict(_tensors(artifact.float_parameters))
        elif artifact.encoder is not None:
            model = AdaptiveEncoder(EncoderConfig.from_json(artifact.encoder))
            model.load_state_dict(_tensors(artifact.float_parameters))
        else:
            shape = artifact.shape
            model = ScalePredictionNetwork(shape.channels, shape.kernel, shape.outputs == 1)
            state = {name.removeprefix(_SPN): values for name, values in artifact.float_parameters.items()}
            model.load_state_dict(_tensors(state))
    except (AdakernError, RuntimeError, TypeError) as error:
        raise ArtifactError(
            f"float parameters do not fit their configuration ({error})",
            "artifact",
            "quantise the model again",
        ) from error
    return model.eval()


def spn_of(model: nn.Module) -> ScalePredictionNetwork:
    """The float scale prediction network alone."""
    spn = model.spn if isinstance(model, AdaptiveEncoder) else model
    assert isinstance(spn, ScalePredictionNetwork)
    return spn


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.tensor(values) for name, values in arrays.items()}
