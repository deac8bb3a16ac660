"""Loop types, checked on structures drawn by hand, and one-hot maps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adakern.data import DNA, PEPTIDE, RNA, SequenceRecord, collate, collate_targets, encode, loop_types
from adakern.data.structure import pair_partners
from adakern_spec.errors import InputError

DRAWN = {
    "hairpin": ("..((...))..", "EESSHHHSSEE"),
    "nothing paired": ("....", "EEEE"),
    "bulge on the left": ("(.(...))", "SBSHHHSS"),
    "bulge on the right": ("((...)..)", "SSHHHSBBS"),
    "internal loop": ("(.(...)..)", "SISHHHSIIS"),
    "multiloop": ("(.(...).(...)(...).)", "SMSHHHSMSHHHSSHHHSMS"),
    "external loop": (".(...)..(...).", "ESHHHSXXSHHHSE"),
    "adjacent stems": ("(...)(...)", "SHHHSSHHHS"),
    "multiloop in an internal loop": ("(.(.(...)(...)).)", "SISMSHHHSSHHHSSIS"),
}


@pytest.mark.parametrize(("structure", "expected"), DRAWN.values(), ids=DRAWN.keys())
def test_loop_types_of_drawn_structures(structure, expected):
    assert loop_types(structure) == expected


nested = st.recursive(
    st.integers(0, 4).map(lambda n: "." * n),
    lambda inner: st.lists(inner | inner.map(lambda text: f"({text})"), max_size=4).map("".join),
    max_leaves=20,
)


@given(nested)
def test_pairs_are_mutual_and_every_base_has_its_type(structure):
    types = loop_types(structure)
    partners = pair_partners(structure)
    assert len(types) == len(structure)
    for position, (symbol, kind, partner) in enumerate(zip(structure, types, partners, strict=True)):
        assert (symbol == ".") == (kind != "S") == (partner == -1)
        if partner >= 0:
            assert partners[partner] == position
            assert structure[min(position, partner)] + structure[max(position, partner)] == "()"


@given(nested)
def test_reversing_a_molecule_reverses_its_loops(structure):
    mirrored = structure[::-1].translate(str.maketrans("()", ")("))
    assert loop_types(mirrored) == loop_types(structure)[::-1]


@pytest.mark.parametrize(
    ("structure", "named"),
    [("(()", "position 1"), ("())", "position 3"), ("(.[)", r"'\['"), ("((a))", "'a'")],
)
def test_broken_structures_are_refused(structure, named):
    with pytest.raises(InputError, match=named):
        loop_types(structure)


def test_rows_of_a_structured_map():
    encoded = encode(SequenceRecord("r", "GAAaC", "(...)"), RNA)
    rows = dict(zip(RNA.rows, encoded.tolist(), strict=True))
    assert encoded.shape == (14, 5)
    assert rows["G"] == [1, 0, 0, 0, 0]
    assert rows["A"] == [0, 1, 1, 1, 0]
    assert rows["("] == [1, 0, 0, 0, 0]
    assert rows["."] == rows["H"] == [0, 1, 1, 1, 0]
    assert rows["S"] == [1, 0, 0, 0, 1]
    assert encoded.sum() == 3 * 5


def test_without_a_structure_its_rows_are_zero():
    encoded = encode(SequenceRecord("r", "ACGU"), RNA)
    assert np.array_equal(encoded[:4], np.eye(4))
    assert not encoded[4:].any()


def test_loop_types_that_are_given_are_kept():
    encoded = encode(SequenceRecord("r", "AAA", "...", "X" * 3), RNA)
    assert encoded[RNA.rows.index("X")].tolist() == [1, 1, 1]


def test_spellings_and_unknown_letters():
    assert np.array_equal(encode(SequenceRecord("r", "ACGT"), RNA), encode(SequenceRecord("r", "acgu"), RNA))
    assert np.array_equal(encode(SequenceRecord("r", "ACGU"), DNA), np.eye(4))
    assert np.array_equal(encode(SequenceRecord("p", PEPTIDE.letters), PEPTIDE), np.eye(20))
    assert not encode(SequenceRecord("p", "X"), PEPTIDE).any()
    with pytest.raises(InputError, match="'Z'"):
        encode(SequenceRecord("p", "AZ"), PEPTIDE)


def test_collate_pads_with_zeros():
    records = [SequenceRecord("a", "ACG"), SequenceRecord("b", "U")]
    maps, lengths = collate(records, RNA)
    assert maps.shape == (2, 1, 14, 3)
    assert maps.dtype == np.float32
    assert lengths.tolist() == [3, 1]
    assert not maps[1, :, :, 1:].any()
    wider, _ = collate(records, RNA, positions=8)
    assert wider.shape == (2, 1, 14, 8)
    assert np.array_equal(wider[..., :3], maps)


def test_collate_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="no records"):
        collate([], RNA)
    with pytest.raises(InputError, match="has 3 letters"):
        collate([SequenceRecord("a", "ACG")], RNA, positions=2)
    with pytest.raises(InputError, match="has 0 letters"):
        collate([SequenceRecord("a", "ACG"), SequenceRecord("b", "")], RNA)


def test_targets_are_padded_with_not_measured():
    scored = np.arange(4, dtype=np.float32).reshape(2, 2)
    records = [
        SequenceRecord("a", "ACG", targets=scored, errors=scored + 1),
        SequenceRecord("b", "ACGU", targets=scored[:1]),
    ]
    targets, errors = collate_targets(records, 4)
    assert targets.shape == errors.shape == (2, 4, 2)
    assert np.array_equal(targets[0, :2], scored)
    assert np.isnan(targets[0, 2:]).all()
    assert np.isnan(targets[1, 1:]).all()
    assert np.array_equal(errors[0, :2], scored + 1)
    assert np.isnan(errors[1]).all()


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        (None, "no targets"),
        (np.zeros(2, np.float32), r"shape \(2,\)"),
        (np.zeros((1, 3), np.float32), r"\[2, 3\]"),
    ],
)
def test_unfit_targets_are_refused(targets, named):
    good = SequenceRecord("a", "ACG", targets=np.zeros((1, 2), np.float32))
    with pytest.raises(InputError, match=named):
        collate_targets([good, SequenceRecord("b", "ACG", targets=targets)], 3)


def test_truncation_keeps_the_loop_types_of_the_whole():
    record = SequenceRecord("a", "GAAAC", "(...)", targets=np.zeros((4, 1), np.float32)).truncated(3)
    assert (record.sequence, record.structure, record.loop) == ("GAA", "(..", "SHH")
    assert record.targets.shape == (3, 1)
    assert encode(record, RNA).shape == (14, 3)
