"""Readers: records of a FASTA, CSV or NPZ file, one at a time."""

import csv
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adakern_spec.errors import InputError

from .admission import Admission, letters_of
from .fasta import read_fasta
from .records import SequenceRecord

SEQUENCES = "what is read here is sequences: give FASTA, .csv or .npz"
"""The mend where a path is of another kind."""

MISSING = ("", "nan", "na")
"""Cells of a target column that mean "not measured"."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a CSV file hold what.

    ``targets`` are numeric columns, or one column of class names listed in ``classes`` (in index
    order). Without an ``id`` column records are numbered from 1; so is one whose cell is empty.
    """

    sequence: str = "sequence"
    structure: str | None = None
    id: str | None = None
    targets: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names that the header must have."""
        optional = [name for name in (self.structure, self.id) if name is not None]
        return (self.sequence, *optional, *self.targets)


def read_csv(path: Path, admission: Admission, columns: Columns) -> Iterator[SequenceRecord]:
    """Records of a CSV file with a header; targets as float32 [columns], NaN for an empty cell.

    Raises InputError with file and line: no rows, absent column, a cell that is no number or no known
    class, and whatever ``Admission.admit`` refuses.
    """
    count = 0
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        _require_columns(rows.fieldnames or (), columns.wanted, path)
        for count, row in enumerate(rows, start=1):
            line = f"{path}:{rows.line_num}"
            record = SequenceRecord(
                id=(row[columns.id] if columns.id else None) or str(count),
                sequence=(row[columns.sequence] or "").strip(),
                structure=(row[columns.structure] or "").strip() or None if columns.structure else None,
                targets=_targets(row, columns, line) if columns.targets else None,
            )
            yield admission.admit(record, letters_of(line))
    if count == 0:
        raise InputError("no records", str(path), "give at least one row below the header")


def class_names(path: Path, column: str) -> tuple[str, ...]:
    """Distinct values of a CSV column, sorted, without empty cells: the classes of a label column.

    Raises InputError: no readable CSV file, absent column, fewer than two classes.
    """
    with _readable(path), path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        _require_columns(rows.fieldnames or (), (column,), path)
        names = sorted({cell for row in rows if (cell := (row[column] or "").strip())})
    if len(names) < 2:
        found = f"no class but {names[0]!r}" if names else "no class"
        raise InputError(f"{found} in column {column!r}", str(path), "give records of two classes or more")
    return tuple(names)


def _require_columns(header: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    for name in wanted:
        if name not in header:
            raise InputError(
                f"no column {name!r}", f"{path}:1", f"the header has {', '.join(header) or 'nothing'}"
            )


def _targets(row: dict[str, str], columns: Columns, line: str) -> np.ndarray:
    if columns.classes:
        label = (row[columns.targets[0]] or "").strip()
        if label not in columns.classes:
            raise InputError(f"unknown class {label!r}", line, f"use one of {', '.join(columns.classes)}")
        return np.array([columns.classes.index(label)], np.float32)
    values = []
    for name in columns.targets:
        cell = (row[name] or "").strip()
        try:
            values.append(float("nan") if cell.lower() in MISSING else float(cell))
        except ValueError:
            raise InputError(
                f"{cell!r} in column {name!r} is no number", line, "correct or empty the cell"
            ) from None
    return np.array(values, np.float32)


def read_npz(path: Path, admission: Admission) -> Iterator[SequenceRecord]:
    """Records of a NumPy archive without pickles.

    Arrays, one row per record: ``sequence`` (fixed bytes or text); optional ``id``, ``structure``,
    ``loop`` likewise; ``targets`` and ``errors`` [N, columns] or [N, positions, columns].
    Raises InputError: no archive, no ``sequence``, arrays of different lengths, no rows, targets
    that are no such numbers, and whatever ``Admission.admit`` refuses.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = ("sequence", "id", "structure", "loop", "targets", "errors")
            arrays = {name: archive[name] for name in names if name in archive}
    except (ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"no readable NumPy archive ({error})", str(path), "write it with numpy.savez"
        ) from None
    if "sequence" not in arrays or arrays["sequence"].ndim != 1:
        raise InputError("no list of texts named sequence", str(path), "name the sequences' array so")
    count = len(arrays["sequence"])
    for name, array in arrays.items():
        if array.shape[:1] != (count,):
            raise InputError(
                f"{name} of shape {array.shape} for {count} sequences", str(path), "give one row per sequence"
            )
    if count == 0:
        raise InputError("no records", str(path), "give at least one")
    for name in ("targets", "errors"):
        array = arrays.get(name)
        if array is not None and (array.ndim not in (2, 3) or array.dtype.kind not in "fiub"):
            raise InputError(
                f"{name} of shape {array.shape} and dtype {array.dtype}",
                str(path),
                "give numbers [N, columns] or [N, positions, columns]",
            )
    for index in range(count):

        def text(name: str, index: int = index) -> str | None:
            return _text(arrays[name][index]) if name in arrays else None

        def values(name: str, index: int = index) -> np.ndarray | None:
            return np.asarray(arrays[name][index], np.float32) if name in arrays else None

        record = SequenceRecord(
            id=text("id") or str(index + 1),
            sequence=text("sequence") or "",
            structure=text("structure"),
            loop=text("loop"),
            targets=values("targets"),
            errors=values("errors"),
        )
        yield admission.admit(record, letters_of(f"{path}, row {index}"))


def _text(cell: bytes | str) -> str:
    return cell.decode("ascii", "replace") if isinstance(cell, bytes) else str(cell)


def read_records(
    path: Path, admission: Admission, columns: Columns | None = None
) -> Iterator[SequenceRecord]:
    """Records of a file, its format told from its suffix: .csv, .npz, else FASTA.

    ``columns`` matters for CSV alone. Raises InputError for a file that does not exist or is not
    readable, and whatever the format's own reader raises.
    """
    if path.is_dir():
        raise InputError("a folder", str(path), SEQUENCES)
    with _readable(path):
        match path.suffix.lower():
            case ".csv":
                yield from read_csv(path, admission, columns or Columns())
            case ".npz":
                yield from read_npz(path, admission)
            case _:
                yield from read_fasta(path, admission)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What keeps a file from being read, as InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(error.strerror or "unreadable", str(path), "give a file that can be read") from None
    except csv.Error as error:
        raise InputError(f"no CSV ({error})", str(path), "write it as comma-separated text") from None
    except UnicodeDecodeError:
        raise InputError("no text file", str(path), SEQUENCES) from None
