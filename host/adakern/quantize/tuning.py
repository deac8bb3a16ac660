"""Quantisation-aware training: the rounded network learns to answer as the float one did."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from adakern_spec.numbers import SCALE

from ..models.encoder import AdaptiveEncoder
from .bias import correct_biases
from .calibration import Calibration
from .layers import QuantisedSpn
from .support import Float

Progress = Callable[[int, int], None]
"""Called with the epochs finished and those in all."""

_EPSILON = 1e-12

_Answer = tuple[Tensor, Tensor]
"""Scales [B, iterations, 2] and the encoder's outputs (empty for an SPN alone)."""

_Example = tuple[Tensor, Tensor, _Answer]
"""Maps, lengths, what the float model answers."""


def fine_tune(
    network: QuantisedSpn,
    source: Float,
    calibration: Calibration,
    activation_maps: Calibration,
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    progress: Progress | None = None,
) -> None:
    """Train ``network`` in place against the float network that it was rounded from.

    ``calibration`` holds the inputs of the encoder (or of the SPN alone), ``activation_maps`` what the SPN
    sees of them. The loss is the mean squared error of the scales, plus, inside an encoder, that of the
    encoder's outputs over their variance; only the SPN learns. The formats stay as they were calibrated.
    Weights that flip shift the means, so each epoch ends with a bias correction. The best epoch is
    kept, the untrained start among them: never worse than post-training quantisation by this loss
    on this data. The same seed gives the same result.
    """
    teacher: nn.Module = source.encoder or source.spn
    student: nn.Module = network
    if source.encoder is not None:
        student = copy.deepcopy(source.encoder).eval().requires_grad_(False)
        student.spn = network
        teacher = copy.deepcopy(source.encoder).eval()
    with torch.no_grad():
        examples = [(*batch, _answer(teacher, *batch)) for batch in calibration.batches()]
        outputs = torch.cat([outputs.flatten() for _, _, (_, outputs) in examples])
        weight = 1 / (float(outputs.var()) + _EPSILON) if len(outputs) else 0.0
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs * len(examples)))
    best_loss, best = _total(student, examples, weight), copy.deepcopy(network.state_dict())
    for epoch in range(epochs):
        for index in torch.randperm(len(examples), generator=generator).tolist():
            optimiser.zero_grad()
            _loss(student, examples[index], weight).backward()
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                network.offset.clamp_(SCALE.value(SCALE.min), SCALE.value(SCALE.max))
        correct_biases(network, source.spn, activation_maps)
        loss = _total(student, examples, weight)
        if loss < best_loss:
            best_loss, best = loss, copy.deepcopy(network.state_dict())
        if progress is not None:
            progress(epoch + 1, epochs)
    network.load_state_dict(best)


def _answer(model: nn.Module, maps: Tensor, lengths: Tensor) -> _Answer:
    if not isinstance(model, AdaptiveEncoder):
        return model(maps, lengths)[:, None], maps.new_empty(0)
    outputs, trace = model(maps, lengths, return_trace=True)
    return torch.stack(trace.scales, dim=1), outputs


def _loss(student: nn.Module, example: _Example, weight: float) -> Tensor:
    maps, lengths, (scales, outputs) = example
    given_scales, given_outputs = _answer(student, maps, lengths)
    loss = functional.mse_loss(given_scales, scales)
    return loss + weight * functional.mse_loss(given_outputs, outputs) if len(outputs) else loss


@torch.no_grad()
def _total(student: nn.Module, examples: list[_Example], weight: float) -> float:
    return sum(float(_loss(student, example, weight)) * len(example[1]) for example in examples)
