"""The embedder: dilated convolutions over time, pooled to one vector, and for each frame whether two speak at once."""

import torch
from torch import nn

from demo.training.speakers.features import MELS

WIDTH, POOLED, EMBEDDING = 96, 160, 64


class Embedder(nn.Module):
    """
    From filter banks, (batch, frames, 80), to a voice's vector, (batch, 64), and the logit of overlap at every second
    frame, (batch, frames / 2).
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(MELS, WIDTH, 5, stride=2, padding=2), nn.BatchNorm1d(WIDTH), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation), nn.BatchNorm1d(WIDTH), nn.ReLU()
            )
            for dilation in (1, 2, 3)
        )
        self.widen = nn.Sequential(nn.Conv1d(WIDTH, POOLED, 1), nn.BatchNorm1d(POOLED), nn.ReLU())
        self.attention = nn.Sequential(nn.Conv1d(POOLED, 32, 1), nn.Tanh(), nn.Conv1d(32, 1, 1))
        self.out = nn.Linear(2 * POOLED, EMBEDDING)
        self.normed = nn.BatchNorm1d(EMBEDDING)
        self.overlap = nn.Sequential(nn.Conv1d(WIDTH, 32, 5, padding=2), nn.ReLU(), nn.Conv1d(32, 1, 1))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        hidden = self.first(features.transpose(1, 2) / 4)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        wide = self.widen(hidden)
        weight = self.attention(wide).softmax(-1)
        mean = (wide * weight).sum(-1)
        spread = ((wide.square() * weight).sum(-1) - mean.square()).clamp(min=1e-5).sqrt()
        return self.normed(self.out(torch.cat([mean, spread], 1))), self.overlap(hidden).squeeze(1)


class Classes(nn.Module):
    """Additive angular margin over the training voices; used in training only."""

    def __init__(self, people: int, margin: float = 0.2, scale: float = 24.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(people, EMBEDDING) * 0.1)
        self.margin, self.scale = margin, scale

    def forward(self, vectors: torch.Tensor, people: torch.Tensor, margin: float) -> torch.Tensor:
        """The loss of *vectors*, (batch, 64), that belong to *people*, (batch,)."""
        cosine = nn.functional.linear(nn.functional.normalize(vectors), nn.functional.normalize(self.weight))
        angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()
        own = nn.functional.one_hot(people, len(self.weight)).bool()
        return nn.functional.cross_entropy(self.scale * torch.where(own, (angle + margin).cos(), cosine), people)
