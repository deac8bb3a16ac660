"""Gateware as RTLIL, with names that Yosys keeps apart."""

import re

from amaranth import Signal, Value
from amaranth.back import rtlil
from amaranth.lib import wiring

_ELEMENT = re.compile(r"(?<=\s)\\\S*\[\S*")
"""An identifier with brackets in it; a slice of a wire has a space before its bracket."""


def to_rtlil(component: wiring.Component, name: str) -> str:
    """RTLIL of a component, without paths in it.

    Every member of its signature is a port but the constant halves of streams that are always ready
    or always valid.
    """
    values = (Value.cast(port) for _, _, port in component.signature.flatten(component))
    ports = [value for value in values if isinstance(value, Signal)]
    return apart(rtlil.convert(component, name=name, ports=ports, emit_src=False))


def apart(text: str) -> str:
    r"""RTLIL whose elements of arrays are named ``\values.3`` in place of Amaranth's ``\values[3]``.

    ABC9's results come back to Yosys 0.70 bit by bit, with bit 3 of a wire ``\values`` named ``\values[3]``:
    a wire that has this name already is taken for that bit. Where their widths differ, Yosys stops at an
    assertion.
    """
    return _ELEMENT.sub(lambda name: name[0].replace("[", ".").replace("]", ""), text)
