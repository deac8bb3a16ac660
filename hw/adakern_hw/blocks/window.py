"""Windows: K × K neighbourhoods of a length-major pixel stream (design part 2)."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.network import ConvShape, Fold
from adakern_spec.numbers import ACTIVATION_BITS

from .delay import DelayLine
from .hints import COPY
from .pixels import pixel_layout, tag_layout
from .ram import Ram


class Window(wiring.Component):
    """Elements of the K × K neighbourhood of each pixel, ``simd`` of them per step.

    Each push moves the window on by one pixel. Its centre is the pixel of ``delay`` pushes ago: the
    contiguous stream lets the padding after one map hold the start of the next, for neighbours beyond
    the centre's own map are masked. Blank pixels may stand anywhere but inside a map.

    Two forms with the same cycles, of which `make_window` takes the cheaper one.

    Parameters
    ----------
    shape : ConvShape
    fold : Fold
    height : int
        Rows of the map.
    reach : int
        Columns at which the pixels' tags saturate; the kernel's radius by default.

    Members
    -------
    push : In(1)
        At least ``Fold.interval`` cycles apart.
    pixel : In(pixel)
        Taken with ``push``.
    load : Out(1)
        In the cycle after ``push``: from the next one on the window is a new one.
    step : In(0 … steps - 1)
        0 in the cycle after ``load``, then counting, over and over until the next ``load``.
    lanes : Out(elements of the step, the first one in the low bits)
        LATENCY cycles after ``step``. An element outside the centre's map is 0.
    centre : Out(tags)
        From the cycle after ``load`` on; not ``real`` before the first real pixel gets there after a reset.
    """

    LATENCY = 2

    def __init__(self, shape: ConvShape, fold: Fold, height: int, reach: int | None = None) -> None:
        self.shape = shape
        self.fold = fold
        self.height = height
        self.reach = shape.radius if reach is None else reach
        self.steps = fold.steps(shape)
        self.pixel_layout = pixel_layout(shape.input_format, shape.in_channels, self.reach)
        super().__init__(
            {
                "push": In(1),
                "pixel": In(self.pixel_layout),
                "load": Out(1),
                "step": In(range(self.steps)),
                "lanes": Out(fold.simd * ACTIVATION_BITS),
                "centre": Out(tag_layout(self.reach)),
            }
        )

    @property
    def delay(self) -> int:
        """Pushes from a pixel to the window around it."""
        return self.shape.radius * (self.height + 1)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.load.eq(self.push)
        masks = self._masks(m)
        selected, mask = self._select(m, masks)
        lanes = Signal.like(self.lanes, reset_less=True)
        m.d.sync += lanes.eq(selected & Cat(bit.replicate(ACTIVATION_BITS) for bit in mask))
        m.d.comb += self.lanes.eq(lanes)
        return m

    def _select(self, m: Module, masks: Signal) -> tuple[Value, Value]:
        """Elements of the step and the mask bit of each, a cycle after ``step``."""
        raise NotImplementedError

    def _masks(self, m: Module) -> Signal:
        """Per position: it lies inside the centre's map."""
        kernel, radius = self.shape.kernel, self.shape.radius
        m.submodules.tags = tags = DelayLine(tag_layout(self.reach), self.delay, blank=True)
        newest = Signal(tag_layout(self.reach), reset_less=True)
        m.d.sync += newest.eq(self.pixel.tags)
        m.d.comb += [tags.advance.eq(self.load), tags.input.eq(newest)]
        centre = tags.output

        row = Signal(range(self.height))
        inside = []
        for dl in range(-radius, radius + 1):
            column_inside = centre.before >= -dl if dl < 0 else centre.after >= dl if dl > 0 else 1
            for dh in range(-radius, radius + 1):
                row_inside = row >= -dh if dh < 0 else row + dh < self.height if dh > 0 else 1
                inside.append(column_inside & row_inside)
        masks = Signal(kernel**2, reset_less=True)
        tags_now = Signal(tag_layout(self.reach))
        m.d.comb += self.centre.eq(tags_now)
        with m.If(self.load):
            m.d.sync += [masks.eq(Cat(inside)), tags_now.eq(centre)]
            with m.If(centre.real):
                m.d.sync += row.eq(Mux(row == self.height - 1, 0, row + 1))
        return masks


class RegisterWindow(Window):
    """K-1 columns in delay lines, K × K pixels in registers, and a copy that shifts by ``simd`` in each step.

    Selecting the elements of a step instead would take a tree of multiplexers with the step at every leaf.
    """

    def _select(self, m: Module, masks: Signal) -> tuple[Value, Value]:
        simd, channels = self.fold.simd, self.shape.in_channels
        window = self._registers(m)
        ends = [(step * simd, (step + 1) * simd) for step in range(self.steps)]
        inside = Array([Cat(masks[e // channels] for e in range(start, end)) for start, end in ends])
        mask = Signal(simd, reset_less=True)
        m.d.sync += mask.eq(inside[self.step])
        following: Value = Const(0, simd * ACTIVATION_BITS)
        for place, (start, end) in reversed(list(enumerate(ends))):
            first = Signal(name=f"first_{place}", attrs={COPY: 1})
            m.d.sync += first.eq(self.load | (self.step == self.steps - 1))
            part = Signal(simd * ACTIVATION_BITS, name=f"part_{place}", reset_less=True)
            m.d.sync += part.eq(
                Mux(first, window[start * ACTIVATION_BITS : end * ACTIVATION_BITS], following)
            )
            following = part
        return following, mask

    def _load(self, m: Module, place: str) -> Signal:
        """A copy of ``load``, near what it moves."""
        load = Signal(name=f"load_{place}", attrs={COPY: 1})
        m.d.sync += load.eq(self.push)
        return load

    def _registers(self, m: Module) -> Value:
        """Every element of the window, in order."""
        kernel = self.shape.kernel
        word = unsigned(ACTIVATION_BITS * self.shape.in_channels)
        newest = Signal(word, reset_less=True)
        m.d.sync += newest.eq(self.pixel.values)
        positions: list[Value] = [newest] * kernel**2
        value: Value = newest
        for back in range(kernel):
            if back:
                line = DelayLine(word, self.height)
                m.submodules[f"line_{back}"] = line
                m.d.comb += [line.advance.eq(self._load(m, f"line_{back}")), line.input.eq(newest)]
                newest = line.output
            value = newest
            for up in range(kernel):
                register = Signal(word, name=f"pixel_{back}_{up}", reset_less=True)
                with m.If(self._load(m, f"pixel_{back}_{up}")):
                    m.d.sync += register.eq(value)
                value = register
                positions[(kernel - 1 - back) * kernel + kernel - 1 - up] = register
        return Cat(positions)


class MemoryWindow(Window):
    """Everything from the window's oldest pixel to its newest in one circular memory of words of ``simd``.

    A step reads one word, so ``simd`` divides the channels. A pixel's words are written from ``load`` on,
    one per cycle, each before the first step that reads it, and over a pixel that no step reads any more.
    """

    def _select(self, m: Module, masks: Signal) -> tuple[Value, Value]:
        kernel, simd, height = self.shape.kernel, self.fold.simd, self.height
        words = self.shape.in_channels // simd
        used = ((kernel - 1) * height + kernel) * words
        bits = max(1, (used - 1).bit_length())
        # A power of two, so that addresses wrap by themselves.
        m.submodules.memory = memory = Ram(unsigned(simd * ACTIVATION_BITS), 1 << bits)

        newest = Signal(self.pixel_layout["values"].shape, reset_less=True)
        left = Signal(range(words + 1))
        tail = Signal(bits)
        m.d.comb += [
            memory.write.addr.eq(tail),
            memory.write.data.eq(newest),
            memory.write.en.eq(left != 0),
        ]
        with m.If(self.push):
            m.d.sync += [newest.eq(self.pixel.values), left.eq(words)]
        with m.Elif(left != 0):
            m.d.sync += [newest.eq(newest.as_value() >> simd * ACTIVATION_BITS), left.eq(left - 1)]
        with m.If(left != 0):
            m.d.sync += tail.eq(tail + 1)

        oldest = Signal(bits, init=-used % (1 << bits))
        following = Signal(bits)
        place = Signal(bits, reset_less=True)
        column_ends = Cat(self.step == (column + 1) * kernel * words - 1 for column in range(kernel - 1))
        m.d.comb += [following.eq(oldest + words), memory.read.addr.eq(place)]
        with m.If(self.load):
            m.d.sync += [oldest.eq(following), place.eq(following)]
        with m.Elif(self.step == self.steps - 1):
            m.d.sync += place.eq(oldest)
        with m.Else():
            m.d.sync += place.eq(place + Mux(column_ends.any(), (height - kernel) * words + 1, 1))

        mask = Signal(reset_less=True)
        m.d.sync += mask.eq(Array([masks[step // words] for step in range(self.steps)])[self.step])
        return memory.read.data, mask.replicate(simd)


def make_window(shape: ConvShape, fold: Fold, height: int, reach: int | None = None) -> Window:
    """The memory if a step takes a part of a pixel: what one takes of several is not one word."""
    return (MemoryWindow if fold.splits_pixels(shape) else RegisterWindow)(shape, fold, height, reach)
