"""Float models in PyTorch: scale prediction network, adaptive pool, adaptive encoder; kernel modulation."""

from .akm import AKMConv2d, convert
from .akm_network import AkmNetwork, AkmNetworkConfig, load_network, save_network
from .encoder import AdaptiveEncoder, EncoderConfig, EncoderTrace, FixedScales, predict
from .encoder_file import load_encoder, save_encoder
from .pooling import AdaptiveAnisotropicPool, fractional_box_pool
from .spn import ScalePredictionNetwork

__all__ = [
    "AKMConv2d",
    "AdaptiveAnisotropicPool",
    "AdaptiveEncoder",
    "AkmNetwork",
    "AkmNetworkConfig",
    "EncoderConfig",
    "EncoderTrace",
    "FixedScales",
    "ScalePredictionNetwork",
    "convert",
    "fractional_box_pool",
    "load_encoder",
    "load_network",
    "predict",
    "save_encoder",
    "save_network",
]
