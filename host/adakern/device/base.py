"""What every device offers: the emulator, the Verilated gateware and a board on a serial port."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from adakern_spec.akm import AkmShape
from adakern_spec.errors import DeviceError
from adakern_spec.networks import Shape

from ..akm_parameters import AkmParameters, kernels_of
from ..kernels import Border
from ..parameter_block import Parameters
from .maps import checked_maps
from .predictions import prediction_type

if TYPE_CHECKING:
    from torch import nn

Progress = Callable[[int], None]
"""Called with the number of maps finished so far."""


class Device(ABC):
    """A network that runs somewhere; a context manager.

    Parameters
    ----------
    shape : SpnShape or AkmShape
        The network shape that the device is built for. It decides what `stream` gives, Prediction or
        ClassPrediction, and `predict`, Predictions or ClassPredictions.

    Maps are integers in the artifact's input format, [C, H, length] each, of dtype uint8 (int8 if
    the shape's input is signed).
    """

    url: str

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._parameters: Parameters | None = None

    @abstractmethod
    def load(self, parameters: Any) -> None:
        """Load a model's parameters; takes effect between maps, never within one."""

    @abstractmethod
    def stream(self, maps: Iterable[np.ndarray]) -> Iterator[Any]:
        """Run maps [C, H, length] one after another and yield their answers in order.

        Consumes the iterable as the device takes the data: memory does not grow with its length.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device. Closing twice is harmless."""

    def adapt(
        self,
        r: Sequence[ArrayLike],
        s: Sequence[ArrayLike],
        *,
        border: Border | None = None,
        clip_sigma: bool = False,
    ) -> None:
        """Give a kernel modulation network other widths and gates: r and s of every layer, nothing else.

        One number or one per channel each; σ = |r|, gate = sigmoid(s); ``border`` stays the loaded network's
        unless given. In force as `update` says.
        Raises InputError, naming layer and channel, for values that are not finite, a sigma above the built
        radius (unless ``clip_sigma`` makes it the largest that fits) and a wrong number of them.
        """
        loaded = self._kernel_modulation()
        kernels = kernels_of(loaded.shape, r, s, border or loaded.border, clip_sigma)
        self.update(loaded.with_kernels(kernels))

    def update(self, parameters: AkmParameters) -> None:
        """Put other parameters of the loaded kernel modulation network in force, e.g. `adaptation.adapt`'s.

        Every map runs with the old ones or with the new ones, none with half of them: in the middle of a
        stream, those that are drawn from now on with the new. If it fails the old ones stay in force.
        """
        if parameters.shape != self._kernel_modulation().shape:
            raise DeviceError("an update of another network", self.url, "load that network instead")
        self._put_in_force(parameters)

    def _kernel_modulation(self) -> AkmParameters:
        if not isinstance(self._parameters, AkmParameters):
            raise DeviceError(
                "no kernel modulation network to adapt", self.url, "load an artifact of one first"
            )
        return self._parameters

    def _put_in_force(self, parameters: AkmParameters) -> None:
        self.load(parameters)

    def _check_shape(self, parameters: Parameters) -> None:
        """DeviceError for a model of another shape than the device is built for."""
        if parameters.shape != self.shape:
            raise DeviceError(
                f"a model of shape {parameters.shape} for a device of shape {self.shape}",
                self.url,
                "open a device of the model's shape",
            )

    def predict(self, maps: np.ndarray, lengths: np.ndarray, progress: Progress | None = None) -> Any:
        """Run a batch [B, C, H, L] with valid lengths [B]; positions beyond a length do not count."""
        rows = []
        for row in self.stream(checked_maps(self.shape, maps, lengths)):
            rows.append(row)
            if progress is not None:
                progress(len(rows))
        return prediction_type(self.shape).collect(rows)

    def as_module(self, input_frac: int) -> "nn.Module":
        """The device as a torch module ``(maps [B, C, H, L] float, lengths [B]) -> scales [B, 2]``.

        Takes the place of a `ScalePredictionNetwork` inside a model, so the device has to be one.
        ``input_frac`` is the number of fraction bits of the artifact's input format.
        Raises DeviceError for a kernel modulation network: all of it is on the device.
        """
        from .module import DeviceModule

        if isinstance(self.shape, AkmShape):
            raise DeviceError("no scales in a kernel modulation network", self.url, "use stream or predict")

        return DeviceModule(self, input_frac)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
