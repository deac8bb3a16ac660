"""What turns an encoded sequence into an answer, per position or per sequence."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from .masking import length_mask


class SequenceHead(nn.Module):
    """Position-wise projection, residual dilated 1-D convs, then outputs per position or per sequence.

    ``forward(features, lengths)``: features [B, F, L], lengths [B]; returns [B, L, outputs], zero at
    positions ≥ length, or [B, outputs] when ``per_position`` is false: the mean over the valid
    positions ahead of the last layer. ``dilations`` gives one 3-tap residual conv each. Dropout
    acts on whole channels in training.
    """

    def __init__(
        self,
        features: int,
        width: int,
        outputs: int,
        dilations: Sequence[int],
        per_position: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.per_position = per_position
        self.project = nn.Conv1d(features, width, 1)
        self.blocks = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )
        self.dropout = nn.Dropout1d(dropout)
        self.readout = nn.Linear(width, outputs)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        mask = length_mask(lengths, features.shape[2], features.dtype)[:, 0]
        x = functional.relu(self.project(features)) * mask
        for block in self.blocks:
            x = (x + functional.relu(block(self.dropout(x)))) * mask
        if self.per_position:
            answer: Tensor = self.readout(x.transpose(1, 2)) * mask.transpose(1, 2)
            return answer
        mean = x.sum(dim=2) / lengths.to(x.dtype)[:, None]
        answer = self.readout(mean)
        return answer
