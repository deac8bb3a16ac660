"""The JSON files that benchmarks write and reports read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adakern.files import write_atomically


def save(path: Path, figures: Mapping[str, Any]) -> str:
    """Put ``figures`` into ``path``, a value per line, and return that text."""
    text = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))
    return text
