"""Linear classifier: from the means of a map's channels to a logit for each class."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from adakern_spec.akm import LOGIT, LOGIT_FIELDS
from adakern_spec.akm_cycles import classifier_latency
from adakern_spec.numbers import ACTIVATION_BITS, MEAN
from adakern_spec.parameters import Field, record_size

from ..fixed import shape_of
from .parameters import BYTES, ParameterRouter, RecordStore
from .ram import Ram
from .serial import SerialMultiplier

WEIGHT_FIELDS = (Field("weight", ACTIVATION_BITS, signed=True),)


class Classifier(wiring.Component):
    """``logit[k] = bias[k] + sum over c of weight[k, c] * mean[c]``, one product after the other.

    A network whose logits need more than 32 bits is refused when it is quantised.

    Parameters
    ----------
    features : int
        Channels that have a mean.
    classes : int
        At least 2.

    Members
    -------
    means : In(stream of MEAN)
        ``features`` per map.
    logits : Out(stream of LOGIT)
        ``classes`` per map, the last one ``latency`` cycles after the first mean if that is taken at once.
    parameters : In(byte stream)
        Weights of each class, then LOGIT_FIELDS of each.
    """

    def __init__(self, features: int, classes: int) -> None:
        self.features = features
        self.classes = classes
        super().__init__(
            {
                "means": In(stream.Signature(shape_of(MEAN))),
                "logits": Out(stream.Signature(shape_of(LOGIT))),
                "parameters": In(BYTES),
            }
        )

    @property
    def latency(self) -> int:
        return classifier_latency(self.features, self.classes)

    def elaborate(self, platform):
        m = Module()
        features, classes = self.features, self.classes
        m.submodules.router = router = ParameterRouter(
            [features * classes, classes * record_size(LOGIT_FIELDS)]
        )
        m.submodules.weights = weights = RecordStore(WEIGHT_FIELDS, features * classes)
        m.submodules.biases = biases = RecordStore(LOGIT_FIELDS, classes)
        m.submodules.totals = totals = Ram(shape_of(LOGIT), classes)
        m.submodules.multiplier = multiplier = SerialMultiplier(shape_of(MEAN), ACTIVATION_BITS)
        wiring.connect(m, wiring.flipped(self.parameters), router.bytes)
        for sink, store in zip(router.sinks, (weights, biases), strict=True):
            wiring.connect(m, sink, store.bytes)

        feature, place = Signal(range(features)), Signal(range(features * classes))
        index = Signal(range(classes))
        mean = Signal(shape_of(MEAN), reset_less=True)
        total = Signal(shape_of(LOGIT), reset_less=True)
        weight = weights.records[0].weight
        before = Mux(feature == 0, biases.records[0].bias, totals.read.data)
        product = multiplier.products.payload
        last = feature == features - 1
        m.d.comb += [
            weights.address.eq(place),
            biases.address.eq(index),
            totals.read.addr.eq(index),
            totals.read.en.eq(1),
            totals.write.addr.eq(index),
            totals.write.data.eq(total),
            multiplier.operands.p.a.eq(mean),
            multiplier.operands.p.b.eq(Mux(weight < 0, -weight, weight)),
            self.logits.payload.eq(total),
        ]
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += self.means.ready.eq(1)
                m.d.sync += [mean.eq(self.means.payload), place.eq(feature), index.eq(0)]
                with m.If(self.means.valid):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.comb += multiplier.operands.valid.eq(1)
                m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += multiplier.products.ready.eq(1)
                m.d.sync += total.eq(before + Mux(weight < 0, -product, product))
                with m.If(multiplier.products.valid):
                    m.next = "KEEP"
            with m.State("KEEP"):
                m.d.comb += [totals.write.en.eq(1), self.logits.valid.eq(last)]
                with m.If(~last | self.logits.ready):
                    m.d.sync += [index.eq(index + 1), place.eq(place + features)]
                    m.next = "FETCH"
                    with m.If(index == classes - 1):
                        m.d.sync += feature.eq(Mux(last, 0, feature + 1))
                        m.next = "TAKE"
        return m
