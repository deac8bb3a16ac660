"""What a bench has to do, as JSON: made where the expected values are computed, read by the bench.

So the bench needs neither the golden model nor numpy, and payloads may be of any width.
"""

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

PLAN_VARIABLE = "ADAKERN_BENCH_PLAN"
"""Environment variable with the plan's path."""

SITUATIONS = ("idle", "starved", "stalled", "transfer", "back_to_back")
"""Of a stream in a cycle: neither valid nor ready; ready only; valid only; both; both twice running."""


@dataclass(frozen=True)
class StreamPlan:
    """Payloads of one stream, packed into integers.

    Parameters
    ----------
    port : str
        Name of the stream in Verilog.
    source : bool
        Whether the bench drives it; otherwise it takes the payloads and compares.
    payloads : tuple of int
    masks : tuple of int, optional
        Bits of each payload that are compared; all unless given.
    phase : int
        A source starts once those of lower phases are through.
    unreachable : tuple of str
        `SITUATIONS` that this stream cannot be in: the bench fails if one is seen, or another is not.
    """

    port: str
    source: bool
    payloads: tuple[int, ...]
    masks: tuple[int, ...] | None = None
    phase: int = 0
    unreachable: tuple[str, ...] = ()

    def mask(self, index: int) -> int:
        return -1 if self.masks is None else self.masks[index]


@dataclass(frozen=True)
class BenchPlan:
    """Streams of a component, the seed of the pauses on either side, and when to give up.

    ``constants`` are values of inputs that are no stream; ``settings`` are for the bench alone.
    """

    streams: tuple[StreamPlan, ...]
    seed: int = 0
    cycles_max: int = 200_000
    constants: dict[str, int] = field(default_factory=dict)
    settings: dict[str, int] = field(default_factory=dict)

    def stream(self, port: str) -> StreamPlan:
        """The plan of the stream of that name."""
        return next(stream for stream in self.streams if stream.port == port)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls) -> "BenchPlan":
        """The plan that `PLAN_VARIABLE` names."""
        values = json.loads(Path(os.environ[PLAN_VARIABLE]).read_text())
        streams = tuple(StreamPlan(**stream) for stream in values.pop("streams"))
        return cls(streams, **values)
