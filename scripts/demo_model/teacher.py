"""A small residual network that learns the drawings first and then teaches the transformer.

Convolutions learn from few drawings what a transformer would need many for: that a thing is the
same thing elsewhere. The transformer learns it from the network's answers on endless composed
scenes. Only the transformer is kept.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)])
        self.shortcut = nn.Identity()
        if inside != outside or stride > 1:
            pool = nn.AvgPool2d(stride, stride) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(
                pool, nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same height and width divided by the stride."""
        y = self.norms[1](self.second(functional.relu(self.norms[0](self.first(x)))))
        return functional.relu(y + self.shortcut(x))


class Teacher(nn.Module):
    """Pixels → an embedding of ``dim``: 64 px become a 4 x 4 map, pooled by learnt attention."""

    def __init__(self, dim: int, widths: tuple[int, ...] = (80, 160, 320)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 5, 2, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        inside = 32
        stages = []
        for width in widths:
            stages += [Block(inside, width, 2), Block(width, width, 1)]
            inside = width
        self.stages = nn.Sequential(*stages)
        self.attend = nn.Conv2d(inside, 4, 1)
        self.project = nn.Linear(4 * inside, dim, bias=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Unnormalised embeddings of shape (n, dim)."""
        features = self.stages(self.stem(pixels.contiguous(memory_format=torch.channels_last)))
        weights = self.attend(features).flatten(2).float().softmax(-1)
        pooled = torch.einsum("nhp,ncp->nhc", weights, features.flatten(2).float())
        return self.project(pooled.flatten(1))
