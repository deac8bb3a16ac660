"""Report of a quantisation: what each layer's integers cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from .comparison import LayerComparison


@dataclass(frozen=True)
class QuantisationReport:
    """Float network against integers over the calibration data.

    Parameters
    ----------
    method : "ptq" or "qat"
    weight_bits : int
    maps : number of activation maps measured
    layers : input, each stage, answer (scale or logit); integers throughout, so errors add up along the
        network
    shares : per layer, its share of the final error: with e_i the mean squared error of the answers when
        layer i alone runs in integers (for a stage its weights, bias and output), e_i / Σ e. After
        quantisation-aware training the float network here is the fine-tuned one.
    adapted : whether both networks were adapted to a task first, as where the classifier is zero until then
    """

    method: str
    weight_bits: int
    maps: int
    layers: tuple[LayerComparison, ...]
    shares: tuple[float, ...]
    adapted: bool = False

    @property
    def answer(self) -> str:
        """What the network answers: scale or logit."""
        return self.layers[-1].name

    @property
    def error_max(self) -> float:
        """Largest difference between an integer answer and the float model's."""
        return self.layers[-1].error_max

    @property
    def error_mean(self) -> float:
        """Mean magnitude of that difference."""
        return self.layers[-1].error_mean

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "weight_bits": self.weight_bits,
            "maps": self.maps,
            "layers": [layer.to_json() for layer in self.layers],
            "shares": list(self.shares),
            f"{self.answer}_error_max": self.error_max,
            f"{self.answer}_error_mean": self.error_mean,
            "adapted": self.adapted,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "QuantisationReport":
        """Report of ``to_json``'s values, for instance an artifact's ``report``."""
        return cls(
            method=values["method"],
            weight_bits=values["weight_bits"],
            maps=values["maps"],
            layers=tuple(LayerComparison.from_json(layer) for layer in values["layers"]),
            shares=tuple(values["shares"]),
            adapted=values.get("adapted", False),
        )

    def table(self) -> Table:
        """For the terminal."""
        table = layer_table(self.layers, extra={"share": [f"{share:.1%}" for share in self.shares]})
        table.title = f"{self.method.upper()}, {self.weight_bits}-bit weights, {self.maps} maps"
        if self.adapted:
            table.title += ", adapted to the first calibration task"
        table.caption = (
            f"share: of the squared error of the {self.answer}s\n"
            f"error of the {self.answer}s: max {self.error_max:.5f}, mean {self.error_mean:.5f}"
        )
        return table


def layer_table(layers: tuple[LayerComparison, ...], extra: Mapping[str, list[str]] | None = None) -> Table:
    """Table of layer comparisons, with ``extra`` columns of one text per layer."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer")
    for heading in ("format", "min", "max", "max error", "SQNR dB", "saturated", *(extra or {})):
        table.add_column(heading, justify="right")
    for index, layer in enumerate(layers):
        table.add_row(
            layer.name,
            f"{'s' if layer.signed else 'u'}{layer.bits}·2^{-layer.frac}",
            f"{layer.low:.4g}",
            f"{layer.high:.4g}",
            f"{layer.error_max:.3g}",
            "–" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f}",
            str(layer.saturated),
            *(texts[index] for texts in (extra or {}).values()),
        )
    return table
