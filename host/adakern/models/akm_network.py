"""The small AKM network that the gateware runs whole: layers, global average, linear classifier."""

from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from adakern_spec.errors import AdakernError, InputError, ShapeError

from .akm import MAX_RADIUS, STARTING_GATE, STARTING_SIGMA, AKMConv2d
from .smoothing import Border, check_border
from .weights_file import WeightsFile, inconsistent

FORMAT = "adakern-akm-network"

Downsample = Literal["none", "stride2", "max2"]
"""After a layer's ReLU: nothing, rows and columns 0, 2, 4, …, or the maximum of 2×2 (odd last ones drop)."""

DOWNSAMPLES: tuple[Downsample, ...] = ("none", "stride2", "max2")


_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = (
    dict.fromkeys(("channels", "downsample"), (tuple, "give one value per layer"))
    | dict.fromkeys(("height", "length", "classes", "kernel", "max_radius"), (int, "use a whole number"))
    | dict.fromkeys(("modulated", "per_channel"), (bool, "use true or false"))
    | dict.fromkeys(("sigma", "gate"), ((int, float), "use a number"))
)
"""What the fields of a configuration may be; a user writes them as JSON."""


@dataclass(frozen=True)
class AkmNetworkConfig:
    """Shape of an AKM network; JSON-serialisable.

    ``channels``: between the layers, the input's first. ``height`` and ``length`` of the input images.
    ``downsample``: one per layer. ``modulated=False`` leaves smoother and gate out: the plain network of
    the same shape. ``per_channel``, ``border``, ``max_radius``, ``sigma`` and ``gate`` as in AKMConv2d.
    Raises ShapeError for what cannot be built and for values of another kind.
    """

    channels: tuple[int, ...] = (1, 16, 32, 48, 64)
    height: int = 28
    length: int = 28
    downsample: tuple[Downsample, ...] = ("stride2", "stride2", "stride2", "none")
    classes: int = 5
    kernel: int = 3
    modulated: bool = True
    per_channel: bool = True
    border: Border = "zero"
    max_radius: int = MAX_RADIUS
    sigma: float = STARTING_SIGMA
    gate: float = STARTING_GATE

    def __post_init__(self) -> None:
        where = "AKM network"
        for name, (expected, mend) in _KINDS.items():
            if not isinstance(value := getattr(self, name), expected):
                raise ShapeError(f"{name} {value!r}", where, mend)
        if len(self.channels) < 2 or not all(isinstance(n, int) and n >= 1 for n in self.channels):
            raise ShapeError(f"channels {self.channels}", where, "give two or more, each at least 1")
        if len(self.downsample) != len(self.channels) - 1:
            layers = len(self.channels) - 1
            raise ShapeError(f"{len(self.downsample)} downsamplings", where, f"give {layers}, one per layer")
        for kind in self.downsample:
            if kind not in DOWNSAMPLES:
                raise ShapeError(f"downsampling {kind!r}", where, "use " + ", ".join(DOWNSAMPLES))
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ShapeError(f"kernel {self.kernel}", where, "use an odd one")
        check_border(self.border, where)
        if min(self.sizes[-1]) < 1 or self.classes < 1:
            raise ShapeError(
                f"{self.height}×{self.length} images, {self.classes} classes",
                where,
                "use larger images, less downsampling and at least one class",
            )

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and length of the input and of every layer's output."""
        sizes = [(self.height, self.length)]
        for kind in self.downsample:
            height, length = sizes[-1]
            half = {"none": (height, length), "max2": (height // 2, length // 2)}
            sizes.append(half.get(kind, (-(-height // 2), -(-length // 2))))
        return tuple(sizes)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as json.dumps takes them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "AkmNetworkConfig":
        """Raises ShapeError for fields that there are not, and for values that cannot be built."""
        names = [field.name for field in fields(cls)]
        if unknown := [name for name in values if name not in names]:
            raise ShapeError(f"unknown field {unknown[0]!r}", "AKM network", f"use {', '.join(names)}")
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**known)


class AkmNetwork(nn.Module):
    """Layers conv → smoother → gate → ReLU → downsampling, then the global average and a linear classifier.

    ``forward(x)``: x [B, C, H, L] of the configured size; returns class scores [B, classes]. Convolutions
    have odd kernels, stride 1, zero "same" padding and a bias, and no normalisation: all of it deploys as
    it is. Attributes that the quantiser reads: ``convs`` (AKMConv2d, or nn.Conv2d in a plain network),
    ``config.downsample``, ``classifier`` (nn.Linear).
    Raises ShapeError for a map of another shape. Source: design, "Kernel modulation".
    """

    def __init__(self, config: AkmNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleList(self._conv(*channels) for channels in pairwise(config.channels))
        self.classifier = nn.Linear(config.channels[-1], config.classes)
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)

    def _conv(self, inputs: int, outputs: int) -> nn.Conv2d:
        config = self.config
        if not config.modulated:
            return nn.Conv2d(inputs, outputs, config.kernel, padding=config.kernel // 2)
        return AKMConv2d(
            inputs,
            outputs,
            config.kernel,
            padding=config.kernel // 2,
            per_channel=config.per_channel,
            border=config.border,
            max_radius=config.max_radius,
            sigma=config.sigma,
            gate=config.gate,
        )

    def features(self, x: Tensor) -> Tensor:
        """What the classifier sees: the global average of the last layer's channels, [B, channels]."""
        config = self.config
        if x.ndim != 4 or tuple(x.shape[1:]) != (config.channels[0], config.height, config.length):
            wanted = f"[B, {config.channels[0]}, {config.height}, {config.length}]"
            raise ShapeError(f"images of shape {tuple(x.shape)}", "AKM network", f"use {wanted}")
        for conv, kind in zip(self.convs, config.downsample, strict=True):
            x = functional.relu(_decimated(conv, x) if kind == "stride2" else conv(x))
            if kind == "max2":
                x = functional.max_pool2d(x, 2)
        return x.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(x))
        return scores

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def _decimated(conv: nn.Module, x: Tensor) -> Tensor:
    """Every second row and column of ``conv(x)``, without computing the others where nothing needs them."""
    if isinstance(conv, AKMConv2d):
        kept: Tensor = conv(x, keep_every=2)
        return kept
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(conv.padding, tuple)
    return functional.conv2d(x, conv.weight, conv.bias, stride=2, padding=conv.padding)


def conv_kind(config: AkmNetworkConfig) -> type[nn.Conv2d]:
    """Class of the layers' convolutions."""
    return AKMConv2d if config.modulated else nn.Conv2d


def check_convs(network: AkmNetwork) -> None:
    """Raises ShapeError where a layer is not what the configuration says, as behind `convert`: no file of the
    network could be read back."""
    for index, conv in enumerate(network.convs):
        if type(conv) is not conv_kind(network.config):
            raise ShapeError(
                f"layer {type(conv).__name__} with modulated={network.config.modulated}",
                f"convs.{index}",
                "build AkmNetwork with the other setting and load the weights into it, strict=False",
            )


def is_kernel_parameter(name: str) -> bool:
    """Whether a parameter's name is that of an r or s: what a deployed device can be sent alone."""
    return name.rpartition(".")[2] in ("r", "s")


def save_network(path: Path, network: AkmNetwork) -> None:
    """Write weights and configuration in one safetensors file, atomically; metadata and tensors, no code.

    Raises AdakernError for non-finite weights and when the system refuses the file, ShapeError as
    `check_convs`.
    """
    if not isinstance(network, AkmNetwork):
        raise InputError(f"{type(network).__name__} for a network", "save_network", "give path, then network")
    check_convs(network)
    WeightsFile(network.config.to_json(), network.state_dict()).save(path, FORMAT)


def load_network(path: Path) -> AkmNetwork:
    """Network of a file that ``save_network`` wrote, in evaluation mode.

    Raises ArtifactError: absent, truncated, another format or version, weights that do not fit the
    configuration, non-finite weights.
    """
    content = WeightsFile.load(path, FORMAT, "give a trained AKM network")
    try:
        network = AkmNetwork(AkmNetworkConfig.from_json(content.config))
        network.load_state_dict(content.tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, AdakernError) as error:
        raise inconsistent(path, error) from None
    return network.eval()
