"""Runs a cocotb bench on a component, Verilated once and kept in the cache."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amaranth.lib.wiring import Component

from ..cache import Cache, digest
from ..compiler import COMPILER, compiler_identity, distribution_digest, find_compiler, verilator_root
from ..verilate import to_verilog
from .plan import PLAN_VARIABLE, BenchPlan

TOP = "top"
BUILD_FLAGS = ("-Wno-fatal", "-Wno-WIDTHEXPAND", "-O3", "--x-assign", "fast", "--x-initial", "fast")

MAKE_FLAGS = f"-- CXX={COMPILER} LINK={COMPILER} CFG_CXXFLAGS_PCH_I=-include"
"""The wheel's makefiles name the compilers that it was built with, and no flag for precompiled headers."""


class BenchFailed(AssertionError):
    """A bench whose tests did not all pass."""


def run_bench(
    component: Component,
    bench: str,
    folder: Path,
    plan: BenchPlan,
    waves: bool = False,
) -> None:
    """Run the tests of the module ``bench`` on ``component``; raises BenchFailed with their messages.

    Parameters
    ----------
    folder : Path
        Where the results, the log and the waveform go.
    waves : bool
        Write ``dump.vcd`` into ``folder``.
    """
    from cocotb_tools.runner import get_results, get_runner

    verilog = to_verilog(component, TOP)
    runner = get_runner("verilator")

    def build(entry: Path) -> None:
        source = entry / f"{TOP}.v"
        source.write_text(verilog)
        with _environment(
            PATH=f"{verilator_root() / 'bin'}{os.pathsep}{os.environ['PATH']}", MAKEFLAGS=MAKE_FLAGS
        ):
            runner.build(
                sources=[source],
                hdl_toplevel=TOP,
                build_args=BUILD_FLAGS,
                build_dir=entry,
                waves=waves,
                log_file=folder / "build.log",
            )
        for path in entry.iterdir():
            if path.name != TOP:
                path.unlink()

    tools = [
        distribution_digest("verilator"),
        distribution_digest("cocotb"),
        compiler_identity(find_compiler()),
    ]
    key = digest(verilog, str(waves), Path(__file__).read_bytes(), *tools)
    plan.write(folder / "plan.json")
    results = folder / "results.xml"
    try:
        runner.test(
            test_module=bench,
            hdl_toplevel=TOP,
            hdl_toplevel_lang="verilog",
            build_dir=Cache("cocotb").get(key, build),
            test_dir=folder,
            results_xml=str(results),
            extra_env={PLAN_VARIABLE: str(folder / "plan.json")},
            waves=waves,
            log_file=folder / "bench.log",
        )
    except SystemExit as error:
        raise BenchFailed(_messages(folder / "bench.log")) from error
    count, failed = get_results(results)
    if failed or not count:
        raise BenchFailed(_messages(folder / "bench.log"))


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Environment variables for the processes that the runner starts; it takes them from this one's."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _messages(log: Path) -> str:
    """The errors that the tests ended in, and where everything is written."""
    lines = [line.strip() for line in log.read_text().splitlines()]
    return "\n".join([*(line for line in lines if re.match(r"[\w.]*Error\b", line)), f"see {log}"])
