"""Float models in PyTorch: scale prediction network, adaptive pool, adaptive encoder."""

from .encoder import AdaptiveEncoder, EncoderConfig, EncoderTrace, FixedScales, predict
from .encoder_file import load_encoder, save_encoder
from .pooling import AdaptiveAnisotropicPool, fractional_box_pool
from .spn import ScalePredictionNetwork

__all__ = [
    "AdaptiveAnisotropicPool",
    "AdaptiveEncoder",
    "EncoderConfig",
    "EncoderTrace",
    "FixedScales",
    "ScalePredictionNetwork",
    "fractional_box_pool",
    "load_encoder",
    "predict",
    "save_encoder",
]
