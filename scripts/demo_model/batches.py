"""Training scenes, composed a whole batch at a time in torch: fast enough to never see one twice.

Drawings differ between artists in colour, line, proportion and pose; the augmentation imitates that
(colour matrices, affine maps, smooth warps), because the test artist's hand is not among the
training ones.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

import drawings
from captions import TEST_STYLE
from scenes import TRAINING_PHOTOGRAPHS, background, trimmed

MAX_OBJECTS = 4
FEW = (0.75, 0.17, 0.08, 0.0)  # shares of scenes with one, two … objects
CROWDED = (0.25, 0.2, 0.25, 0.3)
RELATED_STYLE = "noto-v1"  # an earlier set of the test style's publisher: a few drawings were kept
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


def load_sprites(
    concepts: dict[str, list[tuple[str, str]]], size_px: int
) -> tuple[torch.Tensor, list[list[int]], list[str]]:
    """Every drawing once, trimmed, with premultiplied alpha.

    Returns
    -------
    uint8 tensor of shape (n_drawings, 4, size_px, size_px), for each concept its rows, and what
    was left out: drawings of the related style that nearly repeat the test style's of the same
    name.
    """
    styles = {style for places in concepts.values() for style, _ in places}
    icons = {style: drawings.load_icons(style, size_px=112) for style in sorted(styles)}
    test = drawings.load_icons(TEST_STYLE, sorted(concepts), size_px=112)
    sprites: list[np.ndarray] = []
    rows, repeated = [], []
    for concept, places in concepts.items():
        own = []
        for style, name in places:
            icon = icons[style][name]
            if style == RELATED_STYLE and concept in test and _difference(icon, test[concept]) < 20:
                repeated.append(name)
            elif (icon[..., 3] > 8).any():
                own.append(len(sprites))
                sprites.append(np.asarray(trimmed(icon, size_px).convert("RGBa")))
        rows.append(own)
    return torch.from_numpy(np.stack(sprites)).permute(0, 3, 1, 2).contiguous(), rows, repeated


def _difference(icon: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of two drawings over black, of 255."""
    over_black = [image[..., :3] * (image[..., 3:] / 255.0) for image in (icon, other)]
    return float(np.abs(over_black[0] - over_black[1]).mean())


class SceneSampler:
    """Endless batches of scenes with the concepts in them.

    Parameters
    ----------
    concepts : dict
        As from `captions.training_concepts`.
    everyday : set of str
        Concepts that are shown six times as often.
    size_px : int
        Side of the scenes.
    seed : int
    """

    def __init__(
        self,
        concepts: dict[str, list[tuple[str, str]]],
        everyday: set[str],
        size_px: int,
        seed: int,
    ) -> None:
        self.size_px = size_px
        self.shares: tuple[float, ...] = FEW
        self.twins = False
        self.rng = np.random.default_rng(seed)
        self.torch_rng = torch.Generator().manual_seed(seed)
        large, self.rows, self.repeated = load_sprites(concepts, 64)
        small = (
            functional.interpolate(large.float(), scale_factor=0.5, mode="area")
            .round()
            .to(torch.uint8)
        )
        self.banks = (large, small)
        self.weights = np.array([6.0 if concept in everyday else 1.0 for concept in concepts])
        self.weights *= [bool(rows) for rows in self.rows]
        self.weights /= self.weights.sum()
        # A one-colour drawing is black: no red, green or blue anywhere.
        self.one_colour = large[:, :3].amax(dim=(1, 2, 3)) == 0
        weight = np.where(self.one_colour, 0.2, 1.0)
        self.row_weights = [weight[own] / weight[own].sum() for own in self.rows]
        self.n_drawings = len(large)
        self.backgrounds = self._backgrounds(4096, size_px + 16)

    def _backgrounds(self, count: int, size_px: int) -> torch.Tensor:
        photos = drawings.photographs()
        chosen = [photos[name] for name in TRAINING_PHOTOGRAPHS]
        made = [background(self.rng, size_px, chosen) for _ in range(count)]
        return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()

    def _uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=self.torch_rng) * (high - low) + low

    def batch(self, size: int) -> tuple[torch.Tensor, np.ndarray]:
        """Normalised scenes and what is in them.

        Returns
        -------
        float32 tensor of shape (size, 3, size_px, size_px)
        int array of shape (size, MAX_OBJECTS)
            Concept numbers, -1 where there is no further object.
        """
        counts = 1 + self.rng.choice(MAX_OBJECTS, size, p=self.shares)
        chosen = self.rng.choice(len(self.weights), (size, MAX_OBJECTS), p=self.weights)
        if self.twins:
            self._add_twins(counts, chosen)
        chosen[np.arange(MAX_OBJECTS)[None] >= counts[:, None]] = -1
        scenes = self._canvas(size)
        sides, centres = self._layout(counts)
        for slot in range(MAX_OBJECTS):
            here = np.flatnonzero(chosen[:, slot] >= 0)
            if not len(here):
                continue
            concepts = chosen[here, slot]
            rows = torch.tensor(
                [self.rng.choice(self.rows[c], p=self.row_weights[c]) for c in concepts]
            )
            layer = self._placed(rows, sides[here, slot], centres[here, slot])
            where = torch.from_numpy(here)
            scenes[where] = scenes[where] * (1 - layer[:, 3:]) + layer[:, :3]
        return (self._photographed(scenes) - MEAN) / STD, chosen

    def empty(self, size: int) -> torch.Tensor:
        """Normalised scenes of nothing but a background: shape and type as of `batch`."""
        return (self._photographed(self._canvas(size)) - MEAN) / STD

    def _add_twins(self, counts: np.ndarray, chosen: np.ndarray) -> None:
        """Give every crowded scene of the first half a twin in the second: all but one the same."""
        half = len(counts) // 2
        crowded = np.flatnonzero(counts[:half] > 1)
        counts[crowded + half] = counts[crowded]
        chosen[crowded + half, 1:] = chosen[crowded, 1:]

    def _canvas(self, size: int) -> torch.Tensor:
        picked = torch.from_numpy(self.rng.integers(len(self.backgrounds), size=size))
        top, left = self.rng.integers(17, size=2)
        crops = (
            self.backgrounds[
                picked, :, top : top + self.size_px, left : left + self.size_px
            ].float()
            / 255
        )
        return self._recoloured(crops, torch.ones(size, 1, 1, 1), 0.3)

    def _layout(self, counts: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Sides (share of the scene) and centres (-1 to 1) of each object, mostly inside."""
        size = len(counts)
        alone = torch.from_numpy(counts == 1)[:, None]
        sides = torch.where(
            alone, self._uniform(0.35, 1.05, size, 1), self._uniform(0.3, 0.6, size, MAX_OBJECTS)
        )
        room = (1 - sides).clamp(min=0.06)[..., None]
        free = self._uniform(-1, 1, size, MAX_OBJECTS, 2) * room
        quarters = torch.rand(size, 4, generator=self.torch_rng).argsort(1)[:, :MAX_OBJECTS]
        corner = torch.stack([quarters % 2, quarters // 2], -1).float() - 0.5
        apart = corner * 2 * room.clamp(max=0.6) + self._uniform(-0.15, 0.15, size, MAX_OBJECTS, 2)
        return sides.expand(size, MAX_OBJECTS), torch.where(alone[..., None], free, apart)

    def _placed(
        self, rows: torch.Tensor, sides: torch.Tensor, centres: torch.Tensor
    ) -> torch.Tensor:
        """Drawings mapped into the scene: (n, 4, size_px, size_px), premultiplied."""
        n = len(rows)
        grid = self._grid(sides, centres)
        layer = torch.empty(n, 4, self.size_px, self.size_px)
        is_small = sides * self.size_px < 30
        for bank, members in zip(self.banks, (~is_small, is_small), strict=True):
            which = members.nonzero()[:, 0]
            if len(which):
                sprite = bank[rows[which]].float() / 255
                layer[which] = functional.grid_sample(sprite, grid[which], align_corners=False)
        black = self.one_colour[rows][:, None, None, None].float()
        colour = layer[:, :3] + black * self._uniform(0, 1, n, 3, 1, 1) * layer[:, 3:]
        return torch.cat([self._recoloured(colour, layer[:, 3:], 0.12), layer[:, 3:]], 1)

    def _grid(self, sides: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
        """Where each scene pixel looks in the drawing: an affine map, then a smooth warp."""
        n = len(sides)
        turn = self._uniform(-1, 1, n) * torch.where(self._uniform(0, 1, n) < 0.08, 1.2, 0.3)
        stretch = torch.exp(self._uniform(-0.22, 0.22, n))
        flip = torch.where(self._uniform(0, 1, n) < 0.5, -1.0, 1.0)
        shear = self._uniform(-0.15, 0.15, n)
        cos, sin = torch.cos(turn), torch.sin(turn)
        first = torch.stack([flip * cos / stretch, flip * (sin + shear) / stretch], -1)
        second = torch.stack([-sin * stretch, cos * stretch], -1)
        matrix = torch.stack([first, second], 1) / sides[:, None, None]
        theta = torch.cat([matrix, -(matrix @ centres[..., None])], 2)
        grid = functional.affine_grid(
            theta, [n, 1, self.size_px, self.size_px], align_corners=False
        )
        strength = self._uniform(0, 0.09, n, 1, 1, 1)
        bumps = (
            torch.randn(n, 2, 5, 5, generator=self.torch_rng)
            * strength
            / sides[:, None, None, None].clamp(max=1)
        )
        warp = functional.interpolate(bumps, size=self.size_px, mode="bilinear", align_corners=True)
        return grid + warp.permute(0, 2, 3, 1)

    def _recoloured(self, colour: torch.Tensor, alpha: torch.Tensor, much: float) -> torch.Tensor:
        """Changed colours, by one matrix for each picture.

        ``much`` is the share that gets any hue at all; the others keep theirs, about.
        """
        n = len(colour)
        angle = self._uniform(-0.35, 0.35, n)
        angle = torch.where(self._uniform(0, 1, n) < much, self._uniform(-3.14, 3.14, n), angle)
        saturation = torch.where(self._uniform(0, 1, n) < 0.08, 0.0, self._uniform(0.55, 1.4, n))
        contrast, brightness = self._uniform(0.7, 1.25, n), self._uniform(-0.15, 0.15, n)
        grey = torch.full((3, 3), 1 / 3)
        axis = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
        cos, sin = (f(angle)[:, None, None] for f in (torch.cos, torch.sin))
        chroma = cos * (torch.eye(3) - grey) + sin * axis
        matrix = (grey + saturation[:, None, None] * chroma) * contrast[:, None, None]
        shift = (0.5 * (1 - contrast) + brightness)[:, None, None, None]
        mixed = (matrix @ colour.flatten(2)).view_as(colour) + shift * alpha
        return torch.minimum(mixed.clamp(min=0), alpha)

    def _photographed(self, scenes: torch.Tensor) -> torch.Tensor:
        """What a camera or a thumbnailer does: blur, noise, a covered corner."""
        n = len(scenes)

        def some(share: float) -> torch.Tensor:
            return torch.from_numpy(np.flatnonzero(self.rng.random(n) < share))

        blurred = some(0.2)
        scenes[blurred] = functional.avg_pool2d(
            functional.pad(scenes[blurred], (1, 1, 1, 1), mode="replicate"), 3, 1
        )
        noisy = some(0.2)
        noise = torch.randn(scenes[noisy].shape, generator=self.torch_rng)
        scenes[noisy] += noise * self._uniform(0, 0.05, len(noisy), 1, 1, 1)
        for index in some(0.1).tolist():
            height, width = self.rng.integers(8, self.size_px // 3, 2)
            top, left = (
                self.rng.integers(self.size_px - height),
                self.rng.integers(self.size_px - width),
            )
            scenes[index, :, top : top + height, left : left + width] = self._uniform(0, 1, 3, 1, 1)
        return scenes.clamp(0, 1)
