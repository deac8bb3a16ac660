"""Files that are never half written."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from adakern_spec.errors import AdakernError


def check_writable(path: Path) -> None:
    """Find out before a long job whether `write_atomically` could put a file at ``path``.

    Raises AdakernError if ``path`` is a folder or the system refuses.
    """
    if path.is_dir():
        raise AdakernError("is a folder", str(path), "name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> AdakernError:
    return AdakernError(
        f"cannot write ({error.strerror or error})", str(path), "free some space or choose another folder"
    )


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
        raise _refused(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
