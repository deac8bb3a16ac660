"""Adapter from the spec's number formats to Amaranth shapes; the only one."""

from amaranth import Const, Mux, Shape, Value, signed, unsigned

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


def times(value: Value, factor: int) -> Value:
    """``value * factor`` from shifts and additions; of a product Yosys makes a DSP block.

    The digits of ``factor`` are -1, 0 and 1, no two neighbours other than 0: the fewest terms.
    """
    total: Value = Const(0, 1)
    shift = 0
    while factor:
        if factor % 2:
            digit = 2 - factor % 4
            total = total + (value << shift) if digit == 1 else total - (value << shift)
            factor -= digit
        factor //= 2
        shift += 1
    return total
