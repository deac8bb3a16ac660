"""Sequences: reading, checking and encoding them as maps. NumPy only."""

from .admission import Admission
from .alphabets import ALPHABETS, DNA, PEPTIDE, RNA, Alphabet, alphabet_named
from .encoding import collate, collate_targets, encode
from .fasta import read_fasta
from .readers import Columns, class_names, read_csv, read_npz, read_records
from .records import SequenceRecord
from .structure import LOOP_TYPES, STRUCTURE_SYMBOLS, loop_types, pair_partners

__all__ = [
    "ALPHABETS",
    "DNA",
    "LOOP_TYPES",
    "PEPTIDE",
    "RNA",
    "STRUCTURE_SYMBOLS",
    "Admission",
    "Alphabet",
    "Columns",
    "SequenceRecord",
    "alphabet_named",
    "class_names",
    "collate",
    "collate_targets",
    "encode",
    "loop_types",
    "pair_partners",
    "read_csv",
    "read_fasta",
    "read_npz",
    "read_records",
]
