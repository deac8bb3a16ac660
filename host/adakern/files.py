"""Files that are never half written."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from adakern_spec.errors import AdakernError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write(temporary)`` fill a file beside ``path``, then put it in place in one step.

    Whatever stops the writing, a file that was there before stays as it was. Missing folders are
    made. Raises AdakernError when the system refuses (disk full, no permission).
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes the file private; a result is as readable as any other new file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise AdakernError(
            f"cannot write ({error.strerror or error})", str(path), "free some space or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
