"""Streams under random pauses in cocotb: drives, checks the stream rules, counts the situations."""

import random
from collections import Counter
from typing import Any

from cocotb.triggers import FallingEdge, ReadOnly

from .plan import SITUATIONS, BenchPlan, StreamPlan

SETTLED_CYCLES = 8
"""Between phases: the last transfer has reached its register."""

MOOD_CYCLES = 40
"""Cycles for which a stream keeps its probability of a pause."""

MOODS = (0.0, 0.3, 0.9)
"""Without pauses transfers come back to back; with many the other side has to wait."""


class StreamAgent:
    """One end of a stream, as its plan says."""

    def __init__(self, dut: Any, plan: StreamPlan, seed: str) -> None:
        self.plan = plan
        self.count = 0
        self.situations: Counter[str] = Counter()
        self._valid = getattr(dut, f"{plan.port}__valid")
        self._payload = getattr(dut, f"{plan.port}__payload")
        # A stream that is always ready has no such signal.
        self._ready = getattr(dut, f"{plan.port}__ready", None)
        self._random = random.Random(f"{seed} {plan.port}")
        self._mood = 0.0
        self._offered: int | None = None
        self._transferred = False

    @property
    def done(self) -> bool:
        return self.count == len(self.plan.payloads)

    def drive(self, cycle: int, phase: int) -> None:
        """Set this end for the coming rising edge. An offer once made stays until it is taken."""
        if cycle % MOOD_CYCLES == 0:
            self._mood = self._random.choice(MOODS)
        willing = self._random.random() >= self._mood
        if not self.plan.source:
            if self._ready is not None:
                self._ready.value = int(willing)
        elif self._offered is None:
            offer = willing and not self.done and self.plan.phase <= phase
            self._offered = self.plan.payloads[self.count] if offer else None
            self._valid.value = int(offer)
            # Without an offer the payload means nothing: noise shows who reads it all the same.
            self._payload.value = self._offered if offer else self._random.getrandbits(len(self._payload))

    def sample(self) -> None:
        """What the coming rising edge will see: compare, check the rules, count."""
        valid, ready = bool(int(self._valid.value)), self._ready is None or bool(int(self._ready.value))
        transfer = valid and ready
        situation = {(0, 0): "idle", (0, 1): "starved", (1, 0): "stalled", (1, 1): "transfer"}[valid, ready]
        self.situations[situation] += 1
        self.situations["back_to_back"] += transfer and self._transferred
        self._transferred = transfer
        if self.plan.source:
            if transfer:
                self._offered = None
                self.count += 1
            return
        payload = int(self._payload.value)
        assert self._offered is None or (valid and payload == self._offered), (
            f"{self.plan.port}: offer {self._offered:#x} withdrawn or changed"
        )
        self._offered = payload if valid and not ready else None
        if transfer:
            self._compare(payload)

    def _compare(self, payload: int) -> None:
        port, index = self.plan.port, self.count
        assert not self.done, f"{port}: {payload:#x} after the last expected payload"
        expected, mask = self.plan.payloads[index], self.plan.mask(index)
        assert not (payload ^ expected) & mask, (
            f"{port}: payload {index} is {payload:#x}, expected {expected:#x} under {mask:#x}"
        )
        self.count += 1

    def check_coverage(self) -> None:
        """Every situation was seen but those that cannot be."""
        for situation in SITUATIONS:
            seen = self.situations[situation]
            assert (situation in self.plan.unreachable) == (seen == 0), (
                f"{self.plan.port}: {situation} in {seen} cycles"
            )


async def run_plan(dut: Any, plan: BenchPlan) -> None:
    """Run all streams of a plan to their end, then some more, and check the coverage of the handshakes.

    Both ends change at the falling edge and are read once they have settled: nothing depends on who
    sees the rising edge first.
    """
    for name, value in plan.constants.items():
        getattr(dut, name).value = value
    agents = [StreamAgent(dut, stream, str(plan.seed)) for stream in plan.streams]
    phase, settled = min(agent.plan.phase for agent in agents), 0
    for cycle in range(plan.cycles_max):
        await FallingEdge(dut.clk)
        for agent in agents:
            agent.drive(cycle, phase)
        await ReadOnly()
        for agent in agents:
            agent.sample()
        if all(agent.done for agent in agents if agent.plan.source and agent.plan.phase <= phase):
            settled += 1
            if settled == SETTLED_CYCLES:
                phase, settled = phase + 1, 0
        if all(agent.done for agent in agents):
            break
    else:
        missing = ", ".join(
            f"{a.plan.port} {a.count} of {len(a.plan.payloads)}" for a in agents if not a.done
        )
        raise AssertionError(f"after {plan.cycles_max} cycles: {missing}")
    for agent in agents:
        dut._log.info("%s: %d payloads, %s", agent.plan.port, agent.count, dict(agent.situations))
        agent.check_coverage()
