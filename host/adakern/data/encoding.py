"""From sequences to maps: one-hot rows over positions, padded to a batch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adakern_spec.errors import InputError

from .alphabets import Alphabet
from .records import SequenceRecord
from .structure import LOOP_TYPES, STRUCTURE_SYMBOLS, loop_types


def _one_hot(text: str, symbols: str) -> NDArray[np.bool_]:
    codes = np.frombuffer(text.encode("latin-1", "replace"), np.uint8)
    return codes[None, :] == np.frombuffer(symbols.encode(), np.uint8)[:, None]


def encode(record: SequenceRecord, alphabet: Alphabet) -> NDArray[np.float32]:
    """Map [rows, length] of zeros and ones; rows as ``alphabet.rows`` names them.

    The alphabet's unknown letter gives a column of zeros. Without a structure its rows are zero;
    loop types are derived from the structure where the record has none.
    Raises InputError for a letter outside the alphabet.
    """
    sequence = alphabet.normalise(record.sequence)
    strange = set(sequence) - set(alphabet.letters + alphabet.unknown)
    if strange:
        raise InputError(
            f"letter {min(strange)!r} in record {record.id!r}", alphabet.name, f"use {alphabet.letters}"
        )
    bands = [_one_hot(sequence, alphabet.letters)]
    if alphabet.structured:
        structure = record.structure or " " * len(sequence)
        loop = record.loop or (loop_types(record.structure) if record.structure else " " * len(sequence))
        bands += [_one_hot(structure, STRUCTURE_SYMBOLS), _one_hot(loop, LOOP_TYPES)]
    return np.concatenate(bands).astype(np.float32)


def collate(
    records: Sequence[SequenceRecord], alphabet: Alphabet, positions: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Maps [B, 1, rows, L] zero padded to the longest record (or to ``positions``), and lengths [B].

    Raises InputError for an empty batch, an empty sequence or one longer than ``positions``.
    """
    if not records:
        raise InputError("no records", "batch", "give at least one")
    lengths = np.array([len(record.sequence) for record in records], np.int64)
    width = int(lengths.max()) if positions is None else positions
    for record, length in zip(records, lengths, strict=True):
        if not 1 <= length <= width:
            raise InputError(f"record {record.id!r} has {length} letters", "batch", f"use 1 to {width}")
    maps = np.zeros((len(records), 1, alphabet.height, width), np.float32)
    for row, record, length in zip(maps, records, lengths, strict=True):
        row[0, :, :length] = encode(record, alphabet)
    return maps, lengths


def collate_targets(
    records: Sequence[SequenceRecord], positions: int | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Targets and their standard errors of a batch, NaN where nothing was measured.

    ``positions`` None: targets per sequence, [B, columns]; else per position, [B, positions,
    columns]. Errors are NaN where a record gives none.
    Raises InputError for a record without targets or with targets of another shape.
    """
    dimensions = 1 if positions is None else 2
    for record in records:
        for values in (record.targets, record.errors):
            if values is not None and values.ndim != dimensions:
                raise InputError(
                    f"targets of shape {values.shape} in record {record.id!r}",
                    "batch",
                    "give [positions, columns] per position, [columns] per sequence",
                )
        if record.targets is None:
            raise InputError(f"record {record.id!r} has no targets", "batch", "give targets to train on")
    columns = {record.targets.shape[-1] for record in records if record.targets is not None}
    if len(columns) != 1:
        raise InputError(
            f"records with {sorted(columns)} target columns", "batch", "use the same number in all"
        )
    shape = (len(records), *(() if positions is None else (positions,)), columns.pop())
    targets, errors = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    for index, record in enumerate(records):
        for padded, values in ((targets, record.targets), (errors, record.errors)):
            if values is None:
                continue
            if positions is None:
                padded[index] = values
            else:
                padded[index, : len(values)] = values[:positions]
    return targets, errors
