"""The netlist of each family as a device: bit and cycle exact, and a fault in it is seen."""

import re
from collections.abc import Iterator

import numpy as np
import pytest

from adakern import registry
from adakern.device.emulator import EmulatorDevice
from adakern.device.packet_device import PacketDevice
from adakern.device.verilator import VerilatorTransport, open_netlist, open_verilator
from adakern.gate_level import VECTORS, check_gate_level
from adakern.parameters import SpnParameters
from adakern.verification import adversarial_maps, cases_in_all, random_maps, verify
from adakern_hw.boards import find_board
from adakern_hw.boards.board import FAMILIES
from adakern_sim.netlists import byte_netlist, model_of
from adakern_spec.digest import spec_digest
from adakern_spec.errors import AdakernError
from adakern_spec.network import Fold, SpnShape, folds_for_budget

pytestmark = [pytest.mark.slow]

ONE_STAGE = SpnShape((1, 2), height=4, max_length=64)
TWO_STAGES = SpnShape((2, 2, 1), height=4, max_length=64)
NETWORKS = {
    "ecp5": (ONE_STAGE, folds_for_budget(ONE_STAGE, 4)),
    "ice40": (TWO_STAGES, (Fold(1, 2, shared=True),)),
}
"""As the boards of the families run them: stages in a row, stages in turn."""

CLOCK_HZ = 48_000_000


def parameters(family: str, seed: int) -> SpnParameters:
    return SpnParameters.random(NETWORKS[family][0], np.random.default_rng(seed))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(family, marks=pytest.mark.xdist_group(f"netlist {family}"))
        for family in sorted(FAMILIES)
    ],
)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def netlist(family: str) -> Iterator[PacketDevice]:
    with open_netlist(family, *NETWORKS[family], CLOCK_HZ) as device:
        yield device


def test_verify_finds_no_difference_from_the_reference(family: str, netlist: PacketDevice) -> None:
    assert verify(netlist, parameters(family, 1), count=100, seed=0).mismatch is None


def test_answers_and_cycles_are_those_of_reference_and_source(family: str, netlist: PacketDevice) -> None:
    rng = np.random.default_rng(2)
    shape, folds = NETWORKS[family]
    maps = [
        values
        for cases in (adversarial_maps(shape, rng, shape.max_length), random_maps(shape, rng, 40, 64))
        for _, values in cases
    ]
    emulator = EmulatorDevice(shape, folds)
    with open_verilator(shape, folds, CLOCK_HZ) as source:
        answers = []
        for device in (netlist, source, emulator):
            device.load(parameters(family, 2))
            answers.append(list(device.stream(maps)))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0].cycles


def test_netlist_is_made_of_the_cells_of_the_family(family: str) -> None:
    """Nothing is left to a behavioural description; each DSP block that the folds need is there."""
    shape, folds = NETWORKS[family]
    netlist = byte_netlist(family, shape, folds, CLOCK_HZ).verilog()
    assert "always" not in netlist
    assert " * " not in netlist
    multiplier, products = {"ecp5": ("MULT18X18D", 1), "ice40": ("SB_MAC16", 2)}[family]
    needed = sum(-(-fold.multipliers // products) for fold in folds)
    assert len(re.findall(rf"^  {multiplier} #\(", netlist, re.MULTILINE)) == needed


def flip_bit_of_table(netlist: str) -> str:
    """ECP5: one bit of the table of an adder in the multiply-accumulate array; its input D is tied to 1."""
    cell = re.search(r"CCU2C #\([^;]*?\) \\accelerator\.engine\.stage_0\.macs\.[^;]*?;", netlist)
    assert cell is not None
    table = re.search(r"\.INIT0\(16'h([0-9a-f]{4})\)", cell[0])
    assert table is not None
    flipped = f".INIT0(16'h{int(table[1], 16) ^ 1 << 0b1010:04x})"
    return netlist.replace(cell[0], cell[0].replace(table[0], flipped))


def swap_operands(netlist: str) -> str:
    """iCE40: the lanes of the first multiplier get each other's weight."""
    cell = re.search(r"SB_MAC16 #\([^;]*?;", netlist)
    assert cell is not None
    swapped = re.sub(r"\.B\((.*)\)", r".B({2{\1}} >> 8)", cell[0])
    return netlist.replace(cell[0], swapped)


FAULTS = {"ecp5": flip_bit_of_table, "ice40": swap_operands}


def test_one_faulty_cell_is_seen(family: str) -> None:
    shape, folds = NETWORKS[family]
    netlist = byte_netlist(family, shape, folds, CLOCK_HZ).verilog()
    faulty = FAULTS[family](netlist)
    assert faulty != netlist
    transport = VerilatorTransport(model_of(family, faulty), CLOCK_HZ)
    with PacketDevice(transport, shape) as device:
        outcome = verify(device, parameters(family, 1), count=100, seed=0)
    assert outcome.mismatch is not None
    assert "stage 0" in str(outcome.mismatch)


def test_registry_opens_it_by_family(family: str) -> None:
    url = f"netlist:{family}?multipliers=4&clock={CLOCK_HZ}"
    with registry.open_url(url, ONE_STAGE) as device:
        assert device.url == f"netlist:{family}"
        assert device.identity()["digest"] == spec_digest(ONE_STAGE)


BOARDS = {"ecp5": "icepi-zero", "ice40": "icebreaker"}


def test_build_check_reports_what_it_compared(family: str) -> None:
    board = find_board(BOARDS[family])
    report = check_gate_level(board, NETWORKS[family][1], CLOCK_HZ, parameters(family, 3))
    assert report == {"device": f"netlist:{family}", "vectors": cases_in_all(VECTORS), "equal": True}


def test_build_check_refuses_a_netlist_that_errs(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, folds = NETWORKS[family]

    def with_other_parameters(*_: object) -> EmulatorDevice:
        device = EmulatorDevice(shape, folds)
        other = parameters(family, 5)
        monkeypatch.setattr(device, "load", lambda given: EmulatorDevice.load(device, other))
        return device

    monkeypatch.setattr("adakern.gate_level.open_netlist", with_other_parameters)
    with pytest.raises(AdakernError, match="the netlist differs from the reference: all"):
        check_gate_level(find_board(BOARDS[family]), folds, CLOCK_HZ, parameters(family, 3))
