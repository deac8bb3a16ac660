"""Taps of the smoother: their memories, and the sum of their products with pairs of values."""

from amaranth import Module, Signal, signed
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.akm import TAP, tap_fields
from adakern_spec.akm_cycles import tap_sum_latency
from adakern_spec.cycles import adder_tree_latency
from adakern_spec.parameters import record_size

from ..fixed import shape_of
from .multiplier import AdderTree, MultiplierRow
from .parameters import BYTES, ParameterRouter, RecordStore
from .rounding import rounded


def tap_sum_shape(radius: int, pair: Shape, shift: int) -> Shape:
    """Of a `TapSum`: exact, behind the rounding shift."""
    return signed(pair.width + TAP.bits + adder_tree_latency(radius + 1) - shift + 1)


class TapSum(wiring.Component):
    """``rs(sum of taps[i] * pairs[i], shift)`` of every lane in ``latency`` cycles, new ones in each.

    Parameters
    ----------
    radius : int
    lanes : int
    pair : Shape
        Of the values, signed: the centre's own, or the sum of a pair.
    shift : int
        At least 1.
    multiplier : subclass of MultiplierRow

    Members
    -------
    pairs : In(radius + 1 values).array(lanes)
    taps : In(radius + 1 taps).array(lanes)
    sums : Out(sum).array(lanes)
    """

    def __init__(
        self, radius: int, lanes: int, pair: Shape, shift: int, multiplier: type[MultiplierRow]
    ) -> None:
        self.radius = radius
        self.lanes = lanes
        self.pair = pair
        self.shift = shift
        self.multiplier = multiplier
        count = radius + 1
        super().__init__(
            {
                "pairs": In(pair).array(lanes, count),
                "taps": In(shape_of(TAP)).array(lanes, count),
                "sums": Out(tap_sum_shape(radius, pair, shift)).array(lanes),
            }
        )

    @property
    def latency(self) -> int:
        return tap_sum_latency(self.radius)

    def elaborate(self, platform):
        m = Module()
        count = self.radius + 1
        m.submodules.row = row = self.multiplier(count * self.lanes, 1, self.pair, shape_of(TAP))
        for lane in range(self.lanes):
            tree = AdderTree(count, row.product)
            m.submodules[f"tree_{lane}"] = tree
            for index in range(count):
                place = lane * count + index
                m.d.comb += [copy[place].eq(self.pairs[lane][index]) for copy in row.a]
                m.d.comb += [
                    row.b[0][place].eq(self.taps[lane][index]),
                    tree.terms[index].eq(row.products[0][place]),
                ]
            total = Signal.like(self.sums[lane], name=f"sum_{lane}", reset_less=True)
            m.d.sync += total.eq(rounded(tree.sum, self.shift))
            m.d.comb += self.sums[lane].eq(total)
        return m


class KernelStore(wiring.Component):
    """Kernel records of a layer: length taps, height taps and border columns, each read by itself.

    Parameters
    ----------
    radius : int
    channels : int
    lanes : int
        Channels read at a time.
    per_channel : bool
        Whether each channel has a record, or one serves all.

    Members
    -------
    bytes : In(byte stream)
        `tap_fields` of each record.
    length_group, height_group, border_group : In
        Which ``lanes`` channels to read.
    length_taps, height_taps : Out(radius + 1 taps).array(lanes)
        One cycle later.
    borders : Out(0 … radius).array(lanes)
        One cycle later.
    """

    PARTS = ("length", "height", "border")

    def __init__(self, radius: int, channels: int, lanes: int, per_channel: bool) -> None:
        fields = tap_fields(radius)
        self.lanes = lanes
        self.parts = [tuple(field for field in fields if field.name.startswith(part)) for part in self.PARTS]
        records, together = (channels, lanes) if per_channel else (1, 1)
        self.stores = [RecordStore(part, records, together) for part in self.parts]
        groups = range(channels // lanes)
        taps = shape_of(TAP)
        super().__init__(
            {
                "bytes": In(BYTES),
                **{f"{part}_group": In(groups) for part in self.PARTS},
                "length_taps": Out(taps).array(lanes, radius + 1),
                "height_taps": Out(taps).array(lanes, radius + 1),
                "borders": Out(range(radius + 1)).array(lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.router = router = ParameterRouter([record_size(part) for part in self.parts])
        wiring.connect(m, wiring.flipped(self.bytes), router.bytes)
        borders = [[border] for border in self.borders]
        outputs = (self.length_taps, self.height_taps, borders)
        for name, part, store, sink, ports in zip(
            self.PARTS, self.parts, self.stores, router.sinks, outputs, strict=True
        ):
            m.submodules[name] = store
            wiring.connect(m, sink, store.bytes)
            m.d.comb += store.address.eq(getattr(self, f"{name}_group"))
            for lane in range(self.lanes):
                record = store.records[lane % store.lanes]
                m.d.comb += [
                    port.eq(record[field.name]) for port, field in zip(ports[lane], part, strict=True)
                ]
        return m
