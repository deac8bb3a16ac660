"""Speed, start and memory of the Verilated device: reference network, map 8×16×128, 144 multipliers.

    python benchmarks/verilator.py [--maps 300] [--records 3000] [--out FILE.json]

Each figure comes from a process of its own. "Cold" starts with an empty cache, so the gateware is
converted, Verilated and compiled; "warm" finds all that done. Maps per second are given by the clock on the
wall and per second of the one processor that the simulation uses, which a loaded machine does not change.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()
MULTIPLIERS = 144
CLOCK_HZ = 48_000_000
WARM_RUNS = 5
KIB_PER_MIB = 1024

Figures = dict[str, float]


def random_maps(count: int) -> Iterator[Any]:
    """Maps one at a time, as from a file."""
    import numpy as np

    from adakern_spec.network import REFERENCE, REFERENCE_LENGTH

    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.integers(0, 256, (REFERENCE.in_channels, REFERENCE.height, REFERENCE_LENGTH), np.uint8)


def child(step: str, count: int) -> Figures:
    """One measurement in this process: ``start``, or ``stream`` with ``count`` maps."""
    import numpy as np

    import adakern
    from adakern.artifact import Artifact
    from adakern.parameters import SpnParameters
    from adakern_spec.network import REFERENCE

    parameters = SpnParameters.random(REFERENCE, np.random.default_rng(1))
    fractions = (0,) * len(REFERENCE.channels)
    artifact = Artifact(parameters, fractions=fractions, float_parameters={}, encoder=None)
    opened = time.perf_counter()
    url = f"verilator:?multipliers={MULTIPLIERS}&clock={CLOCK_HZ}"
    with adakern.open(url, artifact) as device:
        next(device.stream(random_maps(1)))
        answered = time.perf_counter()
        if step == "start":
            return {"first_answer": answered - opened, "with_imports": answered - STARTED}
        wall, processor = time.perf_counter(), time.process_time()
        answers = sum(1 for _ in device.stream(random_maps(count)))
        assert answers == count
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB
    return {"per_second": count / wall, "per_processor_second": count / processor, "peak_mib": peak}


def measure(step: str, cache: str, count: int = 0) -> Figures:
    """The figures of `child` in a new process with this cache."""
    command = [sys.executable, __file__, "--child", step, "--maps", str(count)]
    environment = {**os.environ, "ADAKERN_CACHE": cache, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def figures(maps: int, records: int) -> dict[str, str]:
    """All figures, by the names that docs/benchmarks.md gives them."""
    with tempfile.TemporaryDirectory() as cache:
        cold = measure("start", cache)
        warm = min(
            (measure("start", cache) for _ in range(WARM_RUNS)), key=lambda figure: figure["first_answer"]
        )
        speed = measure("stream", cache, maps)
        few, many = measure("stream", cache, 10), measure("stream", cache, records)
    return {
        "maps per second": f"{speed['per_second']:.1f}",
        "maps per second of processor time": f"{speed['per_processor_second']:.1f}",
        "open to first answer, cold": f"{cold['first_answer']:.1f} s",
        f"open to first answer, warm (best of {WARM_RUNS})": f"{warm['first_answer']:.2f} s",
        "the same from the start of the process, imports included": f"{warm['with_imports']:.2f} s",
        "peak memory of the process, 10 maps": f"{few['peak_mib']:.0f} MiB",
        f"peak memory of the process, {records:,} maps": f"{many['peak_mib']:.0f} MiB",
    }


def machine() -> dict[str, str | float]:
    """What the figures depend on; a load above the number of cores makes those on the wall worse."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": float(os.cpu_count() or 1),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--maps", type=int, default=300, help="for the speed")
    parser.add_argument("--records", type=int, default=3000, help="for the memory")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "verilator.json")
    parser.add_argument("--child", choices=("start", "stream"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child, arguments.maps)))
        return

    from figures_file import save

    results = figures(arguments.maps, arguments.records)
    result = {
        "command": f"python benchmarks/verilator.py --maps {arguments.maps} --records {arguments.records}",
        "figures": results,
        "machine": machine(),
    }
    for name, value in results.items():
        print(f"{name}: {value}")
    save(arguments.out, result)


if __name__ == "__main__":
    main()
