"""Window generator: K × K neighbourhoods of a length-major pixel stream (design part 2)."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.network import ConvShape
from adakern_spec.numbers import ACTIVATION_BITS

from .delay import DelayLine
from .pixels import pixel_layout, tag_layout


class WindowGenerator(wiring.Component):
    """Keeps K-1 columns in delay lines and K × K pixels in registers.

    Each push moves the window on by one pixel. Its centre is the pixel of ``delay`` pushes ago: the
    contiguous stream lets the padding after one map hold the start of the next, for neighbours beyond
    the centre's own map are masked. Blank pixels may stand anywhere but inside a map.

    Parameters
    ----------
    shape : ConvShape
    height : int
        Rows of the map.

    Members
    -------
    push : In(1)
    pixel : In(pixel)
        Taken with ``push``.
    window : Out(word of all channels).array(K²)
        From the cycle after ``push`` on; position ``kl * K + kh``, channel 0 in the low bits.
    masks : Out(K²)
        Per position: it lies inside the centre's map. An element outside counts as 0.
    centre : Out(tags)
        Those of the centre; not ``real`` before the first real pixel gets there after a reset.
    """

    def __init__(self, shape: ConvShape, height: int) -> None:
        self.shape = shape
        self.height = height
        self.word = unsigned(ACTIVATION_BITS * shape.in_channels)
        self.pixel_layout = pixel_layout(shape.input_format, shape.in_channels, shape.radius)
        super().__init__(
            {
                "push": In(1),
                "pixel": In(self.pixel_layout),
                "window": Out(self.word).array(shape.kernel**2),
                "masks": Out(shape.kernel**2),
                "centre": Out(tag_layout(shape.radius)),
            }
        )

    @property
    def delay(self) -> int:
        """Pushes from a pixel to the window around it."""
        return self.shape.radius * (self.height + 1)

    def elaborate(self, platform):
        m = Module()
        self._registers(m)
        self._masks(m)
        return m

    def _registers(self, m: Module) -> None:
        kernel = self.shape.kernel
        newest = self.pixel.values.as_value()
        for back in range(kernel):
            if back:
                line = DelayLine(self.word, self.height)
                m.submodules[f"line_{back}"] = line
                m.d.comb += [line.advance.eq(self.push), line.input.eq(newest)]
                newest = line.output
            value = newest
            for up in range(kernel):
                register = Signal(self.word, name=f"pixel_{back}_{up}", reset_less=True)
                with m.If(self.push):
                    m.d.sync += register.eq(value)
                value = register
                position = (kernel - 1 - back) * kernel + kernel - 1 - up
                m.d.comb += self.window[position].eq(register)

    def _masks(self, m: Module) -> None:
        kernel, radius = self.shape.kernel, self.shape.radius
        m.submodules.tags = tags = DelayLine(tag_layout(radius), self.delay, blank=True)
        m.d.comb += [tags.advance.eq(self.push), tags.input.eq(self.pixel.tags)]
        centre = tags.output

        row = Signal(range(self.height))
        inside = []
        for dl in range(-radius, radius + 1):
            column_inside = centre.before >= -dl if dl < 0 else centre.after >= dl if dl > 0 else 1
            for dh in range(-radius, radius + 1):
                row_inside = row >= -dh if dh < 0 else row + dh < self.height if dh > 0 else 1
                inside.append(column_inside & row_inside)
        masks = Signal(kernel**2, reset_less=True)
        tags_now = Signal(tag_layout(radius))
        m.d.comb += [self.masks.eq(masks), self.centre.eq(tags_now)]
        with m.If(self.push):
            m.d.sync += [masks.eq(Cat(inside)), tags_now.eq(centre)]
            with m.If(centre.real):
                m.d.sync += row.eq(Mux(row == self.height - 1, 0, row + 1))
