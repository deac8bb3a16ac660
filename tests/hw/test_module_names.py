"""Modules keep the names that reports know them by: none shares its name with a signal beside it."""

import re

import pytest

from adakern_hw.engines.crossing import EngineCrossing
from adakern_hw.engines.networks import make_engine
from adakern_hw.rtlil_text import to_rtlil
from adakern_hw.top import UartTop
from adakern_spec.akm import AkmLayer, AkmShape, Downsample, layer_folds_for_interval
from adakern_spec.network import SpnShape, folds_for_interval

SPN = SpnShape((2, 2, 2), height=3, max_length=20)
AKM = AkmShape(1, 6, (AkmLayer(2, downsample=Downsample.MAX2), AkmLayer(2)), 3, radius=1, max_length=20)


@pytest.mark.parametrize(
    ("shape", "folds"), [(SPN, folds_for_interval(SPN, 9)), (AKM, layer_folds_for_interval(AKM, 9))]
)
def test_no_module_is_renamed(shape, folds):
    """Where two names in a module meet, Amaranth puts $ and a number behind the second."""
    engine = EngineCrossing(make_engine(shape, folds))
    top = UartTop(shape, folds, 100_000_000, 3_000_000, True, 48_000_000, engine)
    modules = re.findall(r"^module \\(\S+)$", to_rtlil(top, "top"), re.MULTILINE)
    assert len(modules) > 30
    assert [name for name in modules if re.search(r"[^.U]\$\d", name)] == []
