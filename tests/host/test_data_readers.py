"""Readers of FASTA, CSV and NPZ: what they read, and one clear line for what they cannot."""

import itertools
import tracemalloc

import numpy as np
import pytest

from adakern.data import PEPTIDE, Admission, Columns, class_names, read_records
from adakern_spec.errors import AdakernError, InputError


def read(tmp_path, text, name="input.fasta", columns=None, **rules):
    path = tmp_path / name
    path.write_text(text)
    return list(read_records(path, Admission(**rules), columns))


def refusal(tmp_path, text, name="input.fasta", columns=None, **rules):
    """The one line that a bad file gives."""
    with pytest.raises(AdakernError) as caught:
        read(tmp_path, text, name, columns, **rules)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / name) in message
    return message.replace(f"{tmp_path}/", "")


def test_plain_fasta_wrapped_and_in_any_case(tmp_path):
    records = read(tmp_path, ">one first record\nACgu\nTTA\n\n>two\nG G\n")
    assert [(record.id, record.sequence, record.structure) for record in records] == [
        ("one", "ACGUUUA", None),
        ("two", "GG", None),
    ]


@pytest.mark.parametrize("energy", ["", " (-12.34)", " ( -0.10)", " (0.00)"])
def test_fasta_with_structures_as_rnafold_writes_them(tmp_path, energy):
    records = read(tmp_path, f">a\nGGAAACC\n((...)){energy}\n>b\nACGU\n....{energy}\n")
    assert [(record.sequence, record.structure) for record in records] == [
        ("GGAAACC", "((...))"),
        ("ACGU", "...."),
    ]


def test_fasta_with_windows_line_ends(tmp_path):
    path = tmp_path / "input.fasta"
    path.write_bytes(b">a\r\nGGAAACC\r\n((...))\r\n")
    assert next(read_records(path, Admission())).structure == "((...))"


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "input.fasta"
    path.write_bytes(b"\xef\xbb\xbf>a\r\nACGU\r\n")
    assert [(record.id, record.sequence) for record in read_records(path, Admission())] == [("a", "ACGU")]


def test_a_letter_whose_capital_is_two_letters_is_one_illegal_letter(tmp_path):
    message = refusal(tmp_path, ">a\nAß\n", alphabet=PEPTIDE)
    assert message.startswith("input.fasta:2, column 2: illegal letter 'ß'")
    (record,) = read(tmp_path, ">a\nAß\n", alphabet=PEPTIDE, unknown=True)
    assert record.sequence == "AX"


def test_illegal_letters_are_named_with_their_place(tmp_path):
    message = refusal(tmp_path, ">a\nACGU\n>b\nACGU\nAC*U\n")
    assert message.startswith("input.fasta:5, column 3: illegal letter '*'")
    assert refusal(tmp_path, ">a\nACGN\n").startswith("input.fasta:2, column 4: illegal letter 'N'")
    assert "line" not in refusal(tmp_path, ">a\nAC((GU))\n").split(":")[0]


def test_unknown_letters_become_the_alphabets_own(tmp_path):
    (record,) = read(tmp_path, ">a\nAC*N\n", unknown=True)
    assert record.sequence == "ACNN"
    (record,) = read(tmp_path, ">a\nACZ*\n", unknown=True, alphabet=PEPTIDE)
    assert record.sequence == "ACXX"


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("", "input.fasta: no records"),
        ("\n\n", "input.fasta: no records"),
        ("ACGU\n", "input.fasta:1: text before the first >"),
        (">a\n>b\nACGU\n", "input.fasta:1: record 'a' has an empty sequence"),
        (">a\nACGU\n>b\n", "input.fasta:3: record 'b' has an empty sequence"),
        (">a\nACGU\n(..)..\n", "input.fasta:2, column 1: structure of 6 symbols for 4 letters"),
        (">a\nACGU\n(...\n", "input.fasta:2, column 1, structure, position 1: bracket is never closed"),
    ],
)
def test_bad_fasta(tmp_path, text, beginning):
    assert refusal(tmp_path, text).startswith(beginning)


def test_long_sequences_are_refused_or_cut(tmp_path):
    text = ">a\nACGUACGU\n((....))\n"
    message = refusal(tmp_path, text, max_length=5)
    assert "'a' has 8 letters, at most 5 fit" in message
    (record,) = read(tmp_path, text, max_length=5, truncate=True)
    assert (record.sequence, record.structure, record.loop) == ("ACGUA", "((...", "SSHHH")
    (whole,) = read(tmp_path, text, max_length=8)
    assert len(whole.sequence) == 8


def test_absent_and_unreadable_files(tmp_path):
    with pytest.raises(InputError, match=r"absent\.fasta: No such file"):
        list(read_records(tmp_path / "absent.fasta", Admission()))
    with pytest.raises(InputError, match="a folder; what is read here is sequences"):
        list(read_records(tmp_path, Admission()))
    path = tmp_path / "binary.fasta"
    path.write_bytes(bytes(range(255, 0, -1)))
    with pytest.raises(InputError, match="no text file"):
        list(read_records(path, Admission()))


def test_csv_with_numeric_targets(tmp_path):
    text = "name,sequence,structure,x,y\nfirst,ACGU,(..),1.5,-2\nsecond,GG,,,3e1\n"
    columns = Columns(structure="structure", id="name", targets=("x", "y"))
    first, second = read(tmp_path, text, "t.csv", columns)
    assert (first.id, first.sequence, first.structure) == ("first", "ACGU", "(..)")
    assert first.targets.tolist() == [1.5, -2]
    assert second.structure is None
    assert np.isnan(second.targets[0])
    assert second.targets[1] == 30


def test_csv_with_classes(tmp_path):
    text = "peptide,outcome\nAAAAC,Positive\nCCCC,Negative \nDDD,Positive\n"
    (tmp_path / "t.csv").write_text(text)
    classes = class_names(tmp_path / "t.csv", "outcome")
    assert classes == ("Negative", "Positive")
    columns = Columns(sequence="peptide", targets=("outcome",), classes=classes)
    records = read(tmp_path, text, "t.csv", columns, alphabet=PEPTIDE)
    assert [record.id for record in records] == ["1", "2", "3"]
    assert [record.targets.tolist() for record in records] == [[1], [0], [1]]


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("", "t.csv:1: no column 'sequence'"),
        ("name,x\na,1\n", "t.csv:1: no column 'sequence'; the header has name, x"),
        ("sequence,x\n", "t.csv: no records"),
        ("sequence,x\nACGU,1\nACGU,one\n", "t.csv:3: 'one' in column 'x' is no number"),
        ("sequence,x\nACGU,1\nAC-U,1\n", "t.csv:3, letter 3: illegal letter '-'"),
        ("sequence,x\n,1\n", "t.csv:2, letter 1: record '1' has an empty sequence"),
        ("sequence,x\nACGU,1\nACG,-inf\n", "t.csv:3, letter 1: infinite target in record '2'"),
        ("sequence,x\nACGU\n", None),
    ],
)
def test_bad_csv(tmp_path, text, beginning):
    columns = Columns(targets=("x",))
    if beginning is None:
        (record,) = read(tmp_path, text, "t.csv", columns)
        assert np.isnan(record.targets).all()
    else:
        assert refusal(tmp_path, text, "t.csv", columns).startswith(beginning)


def test_an_unknown_class_is_named(tmp_path):
    columns = Columns(targets=("x",), classes=("no", "yes"))
    assert "t.csv:2: unknown class ''" in refusal(tmp_path, "sequence,x\nACGU\n", "t.csv", columns)
    assert "t.csv:2: unknown class 'maybe'" in refusal(tmp_path, "sequence,x\nACGU,maybe\n", "t.csv", columns)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("sequence,x\nACGU,a\nACG,a\nAC,\n", "no class but 'a' in column 'x'"),
        ("sequence,x\nACGU\nACG,\n", "no class in column 'x'"),
        ("sequence\nACGU\n", "no column 'x'"),
        ("x\n\ud8ff\n", "no text file"),
    ],
)
def test_unfit_label_columns_are_refused(tmp_path, text, what):
    path = tmp_path / "classes.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=rf"classes\.csv.*{what}"):
        class_names(path, "x")


def test_a_record_without_a_name_is_numbered(tmp_path):
    records = read(tmp_path, "sequence,id\nACGU,one\nACG,\nAC\n", "t.csv", Columns(id="id"))
    assert [record.id for record in records] == ["one", "2", "3"]


def test_text_that_is_no_csv_is_refused(tmp_path):
    text = "sequence,x\n" + "A" * 200_000 + ",1\n"
    assert "no CSV (field larger than field limit" in refusal(tmp_path, text, "t.csv")


def test_npz_round_trip(tmp_path):
    targets = np.arange(12, dtype=np.float64).reshape(2, 3, 2)
    np.savez(
        tmp_path / "t.npz",
        id=np.array([b"one", b"two"]),
        sequence=np.array([b"GAAAC", b"ACG"]),
        structure=np.array(["(...)", "..."]),
        loop=np.array(["SHHHS", "EEE"]),
        targets=targets,
        errors=targets + 1,
    )
    one, two = read_records(tmp_path / "t.npz", Admission())
    assert (one.id, one.sequence, one.structure, one.loop) == ("one", "GAAAC", "(...)", "SHHHS")
    assert (two.id, two.sequence) == ("two", "ACG")
    assert two.targets.dtype == np.float32
    assert np.array_equal(two.targets, targets[1])
    assert np.array_equal(two.errors, targets[1] + 1)


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"letters": ["ACG"]}, "no list of texts named sequence"),
        ({"sequence": "ACG"}, "no list of texts named sequence"),
        ({"sequence": ["ACG"], "targets": np.zeros((1, 4, 2))}, "targets at 4 positions for 3 letters"),
        ({"sequence": ["ACG"], "targets": np.zeros((1, 2)), "errors": np.zeros((1, 3))}, "errors of another"),
        ({"sequence": ["ACG"], "errors": np.zeros((1, 3))}, "errors of another"),
        ({"sequence": np.array([], "U3")}, "no records"),
        ({"sequence": ["ACG", "ACG"], "id": ["a"]}, "for 2 sequences"),
        ({"sequence": ["ACG"], "targets": 1.0}, r"targets of shape \(\) for 1 sequences"),
        ({"sequence": ["ACG"], "targets": [1.0]}, r"targets of shape \(1,\)"),
        ({"sequence": ["ACG"], "targets": [["high"]]}, "dtype <U4"),
        ({"sequence": ["ACG", "AQG"]}, "row 1, letter 2: illegal letter 'Q'"),
        ({"sequence": ["ACG"], "loop": ["EEQ"]}, "loop type 'Q'"),
        ({"sequence": np.array(["ACG"], object)}, "no readable NumPy archive"),
    ],
)
def test_bad_npz(tmp_path, arrays, named):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(InputError, match=named):
        list(read_records(tmp_path / "t.npz", Admission()))


@pytest.mark.parametrize("kind", ["zip", "array"])
def test_what_is_no_archive_is_refused(tmp_path, kind):
    if kind == "zip":
        (tmp_path / "t.npz").write_bytes(b"PK\x03\x04 no archive")
    else:
        with (tmp_path / "t.npz").open("wb") as file:
            np.save(file, np.zeros(3))
    with pytest.raises(InputError, match="no readable NumPy archive"):
        list(read_records(tmp_path / "t.npz", Admission()))


@pytest.mark.parametrize("name", ["long.fasta", "long.csv"])
def test_readers_stream(tmp_path, name):
    """Reading holds a record at a time, not the file."""
    row = "A" * 100 + "\n"
    with (tmp_path / name).open("w") as file:
        if name.endswith(".csv"):
            file.write("sequence\n")
        file.writelines(row if name.endswith(".csv") else f">{index}\n{row}" for index in range(20_000))
    records = read_records(tmp_path / name, Admission())
    tracemalloc.start()
    try:
        count = sum(len(record.sequence) == 100 for record in itertools.islice(records, None))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < (tmp_path / name).stat().st_size / 4
