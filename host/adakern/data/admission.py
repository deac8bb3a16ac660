"""What a sequence must satisfy to be used, and what is done with one that does not."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from adakern_spec.errors import InputError

from .alphabets import RNA, Alphabet
from .records import SequenceRecord
from .structure import LOOP_TYPES, pair_partners

Place = Callable[[int], str]
"""Names where letter i of a sequence stands, for a message."""


def letters_of(where: str) -> Place:
    """Places within a record that is itself at ``where``."""
    return lambda index: f"{where}, letter {index + 1}"


@dataclass(frozen=True)
class Admission:
    """Rules for records as they are read.

    ``unknown``: letters outside the alphabet become its unknown letter (an all-zero column) instead
    of an error. ``max_length``: longest sequence allowed; longer ones are an error, or are cut to it
    with ``truncate``.
    """

    alphabet: Alphabet = RNA
    unknown: bool = False
    max_length: int | None = None
    truncate: bool = False

    def admit(self, record: SequenceRecord, place: Place) -> SequenceRecord:
        """The record in normal form: letters of the alphabet, within the longest length.

        Raises InputError: no letters, illegal letter, too long, structure or loop types of another
        length or with illegal symbols, infinite targets, targets or errors of an impossible shape.
        """
        if not record.sequence:
            raise InputError(f"record {record.id!r} has an empty sequence", place(0), "remove it")
        sequence = self._legal(record.sequence, place)
        for name, track in (("structure", record.structure), ("loop types", record.loop)):
            if track is not None and len(track) != len(sequence):
                raise InputError(
                    f"{name} of {len(track)} symbols for {len(sequence)} letters in record {record.id!r}",
                    place(0),
                    "make them equally long",
                )
        try:
            pair_partners(record.structure or "")
        except InputError as error:
            raise InputError(error.what, f"{place(0)}, {error.where}", error.mend) from None
        if record.loop and (strange := set(record.loop) - set(LOOP_TYPES)):
            raise InputError(
                f"loop type {min(strange)!r} in record {record.id!r}", place(0), f"use {LOOP_TYPES}"
            )
        targets, errors = record.targets, record.errors
        if targets is not None and targets.ndim == 2 and len(targets) > len(sequence):
            raise InputError(
                f"targets at {len(targets)} positions for {len(sequence)} letters in record {record.id!r}",
                place(0),
                "give at most one row per letter",
            )
        if targets is not None and np.isinf(targets).any():
            raise InputError(
                f"infinite target in record {record.id!r}", place(0), "correct it, or NaN if not measured"
            )
        if errors is not None and (targets is None or errors.shape != targets.shape):
            raise InputError(
                f"errors of another shape than the targets in record {record.id!r}",
                place(0),
                "make them equal",
            )
        record = replace(record, sequence=sequence)
        if self.max_length is None or len(sequence) <= self.max_length:
            return record
        if not self.truncate:
            raise InputError(
                f"record {record.id!r} has {len(sequence)} letters, at most {self.max_length} fit",
                place(0),
                "shorten it or truncate (--truncate)",
            )
        return record.truncated(self.max_length)

    def _legal(self, sequence: str, place: Place) -> str:
        normal = self.alphabet.normalise(sequence)
        strange = set(normal) - set(self.alphabet.letters)
        if not strange:
            return normal
        if self.unknown:
            return normal.translate({ord(letter): self.alphabet.unknown for letter in strange})
        first = next(index for index, letter in enumerate(normal) if letter in strange)
        raise InputError(
            f"illegal letter {sequence[first]!r} for alphabet {self.alphabet.name}",
            place(first),
            f"use {self.alphabet.letters} or map others to unknown (--unknown)",
        )
