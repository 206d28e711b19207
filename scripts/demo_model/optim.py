"""Optimisers for short runs: Muon for matrices, AdamW for the rest, and averaged weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


def orthogonalised(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest (half-)orthogonal matrix, about: Newton-Schulz iteration in bfloat16.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum, then orthogonalised updates; a convolution's kernels are rows of one matrix."""

    def __init__(
        self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # noqa: ARG002
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
                average.lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(average, group["momentum"]).flatten(1)
                scale = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
                parameter.mul_(1 - group["lr"] * group["decay"])
                parameter.add_(orthogonalised(ahead).view_as(parameter), alpha=-group["lr"] * scale)


def _is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Neither a vector nor a first or last layer, which orthogonal updates do not suit."""
    ends = ("embed", "project", "stem", "attend")
    return parameter.ndim >= 2 and not any(end in name for end in ends)


class Optimisers:
    """Both optimisers, their schedule (warm-up, flat, linear to zero), the averaged weights.

    Parameters
    ----------
    modules : list of nn.Module
    muon_lr, adam_lr : float
        Peak rates.
    average : float
        How much of the average stays at each step.
    """

    def __init__(
        self, modules: list[nn.Module], muon_lr: float, adam_lr: float, average: float = 0.998
    ) -> None:
        self.modules = modules
        named = [
            item
            for module in modules
            for item in module.named_parameters()
            if item[1].requires_grad
        ]
        matrices = [parameter for name, parameter in named if _is_hidden_matrix(name, parameter)]
        others = [parameter for name, parameter in named if not _is_hidden_matrix(name, parameter)]
        self.both = [
            Muon(matrices, muon_lr),
            torch.optim.AdamW(others, adam_lr, betas=(0.9, 0.98), weight_decay=0.01),
        ]
        self.peaks = [muon_lr, adam_lr]
        self.averaged = [copy.deepcopy(module).eval().requires_grad_(False) for module in modules]
        self.average, self.n_steps = average, 0

    def step(self, progress: float) -> None:
        """Update; ``progress`` is the share of the training time that has passed."""
        rate = min(1.0, (self.n_steps + 1) / 100) * min(1.0, (1 - progress) / 0.5)
        for optimiser, peak in zip(self.both, self.peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * max(rate, 0.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.n_steps += 1
        self._follow(min(self.average, self.n_steps / (self.n_steps + 10)))

    @torch.no_grad()
    def _follow(self, stay: float) -> None:
        for average, module in zip(self.averaged, self.modules, strict=True):
            ours, theirs = average.state_dict(), module.state_dict()
            for key, value in ours.items():
                if value.is_floating_point():
                    value.lerp_(theirs[key], 1 - stay)
                else:
                    value.copy_(theirs[key])
