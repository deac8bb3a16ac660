"""A synthesised module, or a model of a cell, simulated by Yosys' CXXRTL and driven at its pins."""

import ctypes
import subprocess
from pathlib import Path

from adakern_hw.cells import share_folder
from adakern_hw.toolchain import Workshop

WORD = 32
"""Bits of a chunk of a CXXRTL value."""


class CxxModel:
    """A module as compiled C++: values in and out, clock edges.

    ``source`` is Verilog of the module ``top`` and of all modules in it.
    """

    def __init__(self, source: str, top: str, folder: Path) -> None:
        (folder / "top.v").write_text(source)
        script = f"read_verilog top.v; hierarchy -check -top {top}; proc; flatten; clean; write_cxxrtl top.cc"
        with Workshop(folder) as workshop:
            workshop.run("yosys", ["-q", "-p", script], "yosys.log")
        share = share_folder() / "include/backends/cxxrtl/runtime"
        runtime = share / "cxxrtl/capi/cxxrtl_capi.cc"
        command = ["g++", "-std=c++14", "-O1", "-fPIC", "-shared", "-I", str(share), "-o", "top.so"]
        subprocess.run([*command, "top.cc", str(runtime)], cwd=folder, check=True, capture_output=True)
        self._library = ctypes.CDLL(str(folder / "top.so"))
        create = self._library.cxxrtl_design_create
        create.restype = ctypes.c_void_p
        self._library.cxxrtl_create.restype = ctypes.c_void_p
        self._library.cxxrtl_create.argtypes = [ctypes.c_void_p]
        self._library.cxxrtl_step.argtypes = [ctypes.c_void_p]
        self._library.cxxrtl_get_parts.restype = ctypes.POINTER(Object)
        self._library.cxxrtl_get_parts.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        self._handle = self._library.cxxrtl_create(create())
        self._objects: dict[str, Object] = {}

    def _object(self, name: str) -> "Object":
        if name not in self._objects:
            parts = ctypes.byref(ctypes.c_size_t())
            found = self._library.cxxrtl_get_parts(self._handle, name.encode(), parts)
            assert found, name
            self._objects[name] = found.contents
        return self._objects[name]

    def set(self, name: str, value: int) -> None:
        port = self._object(name)
        for chunk in range(-(-port.width // WORD)):
            port.next[chunk] = value >> WORD * chunk & (1 << WORD) - 1

    def get(self, name: str) -> int:
        port = self._object(name)
        return sum(port.curr[chunk] << WORD * chunk for chunk in range(-(-port.width // WORD)))

    def tick(self) -> None:
        # The falling edge lets what lies behind the registers settle.
        for level in (0, 1, 0):
            self.set("clk", level)
            self._library.cxxrtl_step(self._handle)


class Object(ctypes.Structure):
    """cxxrtl_object of cxxrtl_capi.h, up to what is used here."""

    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("type", "flags")),
        *((name, ctypes.c_size_t) for name in ("width", "lsb_at", "depth", "zero_at")),
        *((name, ctypes.POINTER(ctypes.c_uint32)) for name in ("curr", "next")),
    ]
