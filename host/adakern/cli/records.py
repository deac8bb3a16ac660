"""Sequences from the command line: options of the readers, and results as a file that can be resumed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self, TypeVar

import typer

from adakern_spec.errors import AdakernError, ArtifactError, InputError

from .console import Interrupted

if TYPE_CHECKING:
    from ..artifact import Artifact
    from ..data import Columns, SequenceRecord


class Named(Protocol):
    """A record with a name of its own."""

    @property
    def id(self) -> str: ...


T = TypeVar("T")
R = TypeVar("R", bound=Named)

Unknown = Annotated[bool, typer.Option("--unknown", help="Read letters outside the alphabet as unknown.")]
Truncate = Annotated[bool, typer.Option("--truncate", help="Cut sequences that are too long.")]
MaxLength = Annotated[
    int | None,
    typer.Option(min=1, help="Longest sequence; default: what a quantised model was built for, else any."),
]
SequenceColumn = Annotated[str, typer.Option(help="CSV: column of the sequence.")]
StructureColumn = Annotated[str | None, typer.Option(help="CSV: column of the dot-bracket structure.")]
IdColumn = Annotated[str | None, typer.Option(help="CSV: column of the name; default: numbered.")]


def alphabet_of(artifact: "Artifact") -> str:
    """Alphabet of the sequences that the artifact's encoder reads."""
    if artifact.encoder is None:
        raise ArtifactError(
            "no encoder in the artifact",
            "model",
            "quantise an encoder, or give maps to adakern.open(…).predict",
        )
    return str(artifact.encoder["alphabet"])


def read(
    path: Path,
    alphabet: str,
    columns: "Columns",
    *,
    unknown: bool = False,
    truncate: bool = False,
    max_length: int | None = None,
) -> "Iterator[SequenceRecord]":
    """Records of a file. The first is read at once: a bad file is refused before other work is done."""
    from ..data import Admission, alphabet_named, read_records

    admission = Admission(alphabet_named(alphabet), unknown, max_length, truncate)
    records = read_records(path, admission, columns)
    return chain([next(records)], records)


class ResultsFile:
    """JSON lines, one per record, each on the disk's side before the next is made; a context manager.

    A run that ended early leaves whole lines and at most one part of a line. ``resume`` drops that part
    and goes on behind; without it a file that exists is refused. ``parameter_crc`` names the model.
    """

    def __init__(self, path: Path, resume: bool, parameter_crc: str) -> None:
        self.path = path
        self.parameter_crc = parameter_crc
        self.count = 0
        if path.exists() and not resume:
            raise InputError("exists", str(path), "continue it with --resume or name another file")
        self._file = self._guarded(lambda: path.open("a+b"))

    def skip(self, records: Iterator[R]) -> Iterator[R]:
        """The records that have no result yet.

        InputError if the results are not of these records or not of this model.
        """
        self._file.seek(0)
        end = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            self.count += 1
            place = f"{self.path}:{self.count}"
            record = next(records, None)
            identity, parameter_crc = self._origin(line, place)
            if record is None or record.id != identity:
                raise InputError("results of other records", place, "give the same input or another --output")
            if parameter_crc != self.parameter_crc:
                raise InputError("results of another model", place, "give the same model or another --output")
            end += len(line)
        self._guarded(lambda: self._file.truncate(end))
        return records

    def append(self, result: dict[str, Any]) -> None:
        """Write one record's line."""
        line = json.dumps(result, allow_nan=False) + "\n"
        self._guarded(lambda: self._file.write(line.encode()))
        self._guarded(self._file.flush)
        self.count += 1

    def close(self) -> None:
        # Every line was flushed by itself: what a full disk kept back has been reported.
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _origin(line: bytes, place: str) -> tuple[str, str | None]:
        """Record and model of a result."""
        try:
            result = json.loads(line)
            return str(result["id"]), result.get("parameter_crc")
        except (ValueError, KeyError, TypeError):
            raise InputError("no result of a record", place, "name another --output") from None

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as error:
            raise AdakernError(
                f"cannot write ({error.strerror or error})",
                str(self.path),
                "free some space or name another file",
            ) from error


@contextmanager
def resumable(results: ResultsFile | None) -> Iterator[None]:
    """Say where the results so far are when the run ends early."""
    kept = "" if results is None else f"continue from the results in {results.path} with --resume"
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(kept or "use --output to be able to resume") from None
    except AdakernError as error:
        error.mend = "; ".join(filter(None, (error.mend, kept)))
        raise
