"""Broadcast: one value to places too far apart for a single net."""

from collections.abc import Mapping

from amaranth import Module, ResetInserter, Signal, Value
from amaranth.hdl import Elaboratable, ValueLike

from adakern_spec.cycles import FAN_OUT, broadcast_latency

from .hints import COPY


def broadcast(m: Module, name: str, value: ValueLike, places: int, copies: int) -> list[Signal]:
    """``copies`` registers of ``value``, broadcast_latency(places) cycles later; ``value`` itself after 0.

    The latency is that of ``places`` even if fewer copies will do, so that it does not depend on the
    device. Each register of the tree drives at most FAN_OUT others, next to each other in the list.
    """
    ranks = broadcast_latency(places)
    registers: list[Value] = [Value.cast(value)]
    for rank in range(1, ranks + 1):
        count = -(-copies // FAN_OUT ** (ranks - rank))
        above, registers = registers, []
        for index in range(count):
            register = Signal(
                above[0].shape(), name=f"{name}_{rank}_{index}", reset_less=True, attrs={COPY: 1}
            )
            m.d.sync += register.eq(above[index * len(above) // count])
            registers.append(register)
    return registers * (copies if not ranks else 1)


def spread_restart(m: Module, restart: Signal, blocks: Mapping[str, Elaboratable]) -> Signal:
    """Make submodules of ``blocks``, each reset by a register of its own; one more for the caller."""
    *registers, own = (Signal(name=f"restart_{name}", attrs={COPY: 1}) for name in (*blocks, "own"))
    m.d.sync += [register.eq(restart) for register in (*registers, own)]
    for register, (name, block) in zip(registers, blocks.items(), strict=True):
        m.submodules[name] = ResetInserter(register)(block)
    return own
