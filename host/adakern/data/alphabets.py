"""Alphabets: which letters a sequence may have and which row of the map each one sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_lowercase, ascii_uppercase

from adakern_spec.errors import InputError

from .structure import LOOP_TYPES, STRUCTURE_SYMBOLS

_UPPER = str.maketrans(ascii_lowercase, ascii_uppercase)
"""Letter by letter: str.upper makes two of some letters, and S of ß."""


@dataclass(frozen=True)
class Alphabet:
    """Letters, one row of the map each; with ``structured``, rows for structure and loop type follow.

    ``aliases`` are other spellings of a letter; lower case is read as upper case. ``unknown`` is the
    letter that stands for anything else: it sets no row.
    """

    name: str
    letters: str
    unknown: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    structured: bool = False

    @property
    def rows(self) -> tuple[str, ...]:
        """What each row of a map stands for, top first."""
        return tuple(self.letters + (STRUCTURE_SYMBOLS + LOOP_TYPES if self.structured else ""))

    @property
    def height(self) -> int:
        """Rows of a map."""
        return len(self.rows)

    def normalise(self, sequence: str) -> str:
        """Upper case, every alias replaced by its letter; letters of no alphabet are kept."""
        return sequence.translate(_UPPER).translate(
            {ord(alias): letter for alias, letter in self.aliases.items()}
        )


RNA = Alphabet("rna", "ACGU", "N", {"T": "U"}, structured=True)
"""14 rows: 4 bases, 3 structure symbols, 7 loop types."""

DNA = Alphabet("dna", "ACGT", "N", {"U": "T"})
"""4 rows."""

PEPTIDE = Alphabet("peptide", "ACDEFGHIKLMNPQRSTVWY", "X")
"""20 rows, one per amino acid."""

ALPHABETS = {alphabet.name: alphabet for alphabet in (RNA, DNA, PEPTIDE)}


def alphabet_named(name: str) -> Alphabet:
    """Alphabet of that name; InputError lists the known ones."""
    try:
        return ALPHABETS[name]
    except KeyError:
        raise InputError(f"alphabet {name!r}", "alphabet", f"use one of {', '.join(ALPHABETS)}") from None
