"""FASTA, plain or with a dot-bracket structure after each sequence, as RNAfold writes it."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from Bio.SeqIO.FastaIO import SimpleFastaParser

from adakern_spec.errors import InputError

from .admission import Admission
from .records import SequenceRecord

_BODY = re.compile(r"(?P<sequence>[^().]*)(?P<structure>[().]*?)(?P<energy>\(-?[\d.]+\))?")
"""Sequence, then perhaps dot-bracket, then perhaps RNAfold's free energy, blanks removed."""


class _Lines:
    """Lines of a file, remembering those of the record that the parser is at."""

    def __init__(self, lines: Iterable[str], path: Path) -> None:
        self.path = path
        self._source = lines
        self._record: list[tuple[int, str]] = []
        self._next: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._source, start=1):
            if line.startswith(">"):
                self._record, self._next = self._next, []
            elif line.strip() and not self._next:
                raise InputError("text before the first >", f"{self.path}:{number}", "start with a > line")
            self._next.append((number, line))
            yield line
        self._record = self._next

    def place(self, letter: int) -> str:
        """File, line and column of a letter of the current record's sequence."""
        seen = 0
        for number, line in self._record[1:]:
            columns = [column for column, symbol in enumerate(line, start=1) if not symbol.isspace()]
            if letter < seen + len(columns):
                return f"{self.path}:{number}, column {columns[letter - seen]}"
            seen += len(columns)
        return f"{self.path}:{self._record[0][0]}"


def read_fasta(path: Path, admission: Admission) -> Iterator[SequenceRecord]:
    """Records of a FASTA file; the id is the first word after ``>``.

    Sequence and structure may be wrapped over lines. Raises InputError with file and line: no
    records, text ahead of the first, and whatever ``Admission.admit`` refuses.
    """
    with path.open(encoding="utf-8-sig") as file:
        lines = _Lines(file, path)
        count = 0
        for count, (title, body) in enumerate(SimpleFastaParser(iter(lines)), start=1):
            match = _BODY.fullmatch(body)
            if match is None:
                # A letter after the structure began: admitted as a whole, it is reported as illegal.
                sequence, structure = body, None
            else:
                sequence, structure = match["sequence"], match["structure"] or None
            name = title.split()[0] if title.split() else str(count)
            yield admission.admit(SequenceRecord(name, sequence, structure), lines.place)
    if count == 0:
        raise InputError("no records", str(path), "give at least one > line with a sequence")
