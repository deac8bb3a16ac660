"""Adapter from the spec's number formats to Amaranth shapes; the only one."""

from amaranth import Mux, Shape, Value, signed, unsigned

from adakern_spec.numbers import Format, bits_for


def shape_of(fmt: Format) -> Shape:
    """Shape of the integer ``q`` of ``fmt``."""
    return Shape(fmt.bits, fmt.signed)


def shape_for(low: int, high: int) -> Shape:
    """Smallest shape that holds every integer from ``low`` to ``high``."""
    if low >= 0:
        return unsigned(bits_for(high))
    return signed(max(bits_for(high), bits_for(-low - 1)) + 1)


def clamp(value: Value, low: Value | int, high: Value | int) -> Value:
    """``value`` limited to ``low`` … ``high``."""
    return Mux(value < low, low, Mux(value > high, high, value))


def saturate(value: Value, fmt: Format) -> Value:
    """Nearest integer that ``fmt`` holds."""
    return clamp(value, fmt.min, fmt.max)
