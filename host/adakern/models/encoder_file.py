"""Encoder files: float weights and configuration in one safetensors file."""

from pathlib import Path

from adakern_spec.errors import AdakernError

from .encoder import AdaptiveEncoder, EncoderConfig
from .weights_file import WeightsFile, inconsistent

FORMAT = "adakern-encoder"


def save_encoder(path: Path, encoder: AdaptiveEncoder) -> None:
    """Write weights and configuration; atomic, an existing file is replaced only by a whole one.

    Raises AdakernError for non-finite weights and when the system refuses the file.
    """
    WeightsFile(encoder.config.to_json(), encoder.state_dict()).save(path, FORMAT)


def load_encoder(path: Path) -> AdaptiveEncoder:
    """Encoder of a file that ``save_encoder`` wrote, in evaluation mode.

    Raises ArtifactError: absent, truncated, another format or version, weights that do not fit the
    configuration, non-finite weights.
    """
    content = WeightsFile.load(path, FORMAT, "give a trained encoder file")
    try:
        encoder = AdaptiveEncoder(EncoderConfig.from_json(content.config))
        encoder.load_state_dict(content.tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, AdakernError) as error:
        raise inconsistent(path, error) from None
    return encoder.eval()
