"""A folder of build results that can be incomplete or stale for nobody.

An entry's name is a digest of everything that went into it, it is built in a folder of its own
and renamed into place whole, and a manifest with the SHA-256 of its files is checked at each use.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from adakern_spec.errors import AdakernError

ROOT_VARIABLE = "ADAKERN_CACHE"
"""Environment variable that moves the cache."""

MANIFEST = "manifest.json"


def cache_root() -> Path:
    """Folder of the cache: $ADAKERN_CACHE, else the user's cache folder on this operating system."""
    return Path(os.environ.get(ROOT_VARIABLE) or platformdirs.user_cache_dir("adakern"))


def digest(*ingredients: str | bytes) -> str:
    """Hexadecimal SHA-256 over the ingredients, each behind its size: none can run into the next."""
    state = hashlib.sha256()
    for ingredient in ingredients:
        content = ingredient.encode() if isinstance(ingredient, str) else ingredient
        state.update(len(content).to_bytes(8, "little"))
        state.update(content)
    return state.hexdigest()


def _file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of an entry but the manifest."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }


class Cache:
    """Entries of one kind, each a flat folder of files.

    Parameters
    ----------
    kind : str
        Name of the folder under the cache's root.
    root : Path, optional
        The cache's root, `cache_root()` unless given.
    """

    def __init__(self, kind: str, root: Path | None = None) -> None:
        self.folder = (root or cache_root()) / kind

    def find(self, key: str) -> Path | None:
        """Folder of an intact entry, None if there is none."""
        entry = self.folder / key
        try:
            manifest = json.loads((entry / MANIFEST).read_text())
            return entry if manifest == _file_digests(entry) else None
        except (OSError, ValueError):
            return None

    def get(self, key: str, build: Callable[[Path], None], waiting: Callable[[], None] | None = None) -> Path:
        """Folder of the entry; ``build(folder)`` fills it first if it is absent or damaged.

        Builders of the same entry, in any process, take turns: the second is told so by ``waiting()`` and
        finds the first one's work. A build that fails or is killed leaves no entry.
        """
        found = self.find(key)
        if found is not None:
            return found
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked(key, waiting):
                return self.find(key) or self._fill(key, build)
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            raise AdakernError(
                f"{error.strerror or error}{place}",
                f"cache {self.folder}",
                f"free the disk or set {ROOT_VARIABLE} to a writable folder",
            ) from error

    @contextmanager
    def _locked(self, key: str, waiting: Callable[[], None] | None) -> Iterator[None]:
        """Alone with the entry, among all processes; a lock goes with the process that holds it."""
        lock = FileLock(self.folder / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if waiting is not None:
                waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _fill(self, key: str, build: Callable[[Path], None]) -> Path:
        """Build the entry; the lock is held, so what lies there is a dead builder's."""
        entry, partial = self.folder / key, self.folder / f"{key}.partial"
        for leftover in (entry, partial):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir()
        try:
            build(partial)
            (partial / MANIFEST).write_text(json.dumps(_file_digests(partial), indent=1))
            partial.rename(entry)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return entry
