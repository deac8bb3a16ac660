"""Reading a safetensors file of a known format: tensors and header. No code, no pickle."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from adakern_spec.errors import ArtifactError


def read_tensors(
    path: Path, framework: str, format: str, version: str, mend: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors by name, as those of ``framework`` ("np" or "pt"), and the metadata.

    ``mend``: what to give instead of a file that is not readable. Raises ArtifactError: absent, truncated,
    another format or version than the metadata's ``format`` and ``version`` should say.
    """
    try:
        with safe_open(path, framework=framework) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"not readable ({error})", str(path), mend) from None
    if metadata.get("format") != format or metadata.get("version") != version:
        raise ArtifactError(
            f"format {metadata.get('format')} version {metadata.get('version')}",
            str(path),
            f"give a file of format {format} version {version}",
        )
    return tensors, metadata
