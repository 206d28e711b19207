"""Test the demo model on drawings by an artist it has never seen.

    python scripts/demo_model/evaluate.py
    python scripts/demo_model/evaluate.py --checkpoint models/demo-checkpoint

The first line tests the packaged model on OpenVINO, the second the checkpoint on torch.

Two tables. *Single*: one scene for each everyday concept, and for each concept the rank of its
own scene under "a photo of a …" among all of them (R@1, R@5). *Crowded*: scenes with two to four
things; for each concept that is in one, whether the first hit shows it, and whether one of the
first three does. Scenes are drawn from a seed; the photographs behind them are behind no training
scene.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "sample_data"))  # has drawings.py

import drawings
from captions import PROMPT, TEST_STYLE, everyday_concepts
from notice import licence_table
from scenes import TEST_PHOTOGRAPHS, Scene, compose

SEED = 2026
N_CROWDED = 60
CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
TABLE_START, TABLE_END = (
    "<!-- results: written by scripts/demo_model/evaluate.py -->",
    "<!-- end of results -->",
)

Embed = Callable[[list[Any]], np.ndarray]


def _test_photographs() -> list[np.ndarray]:
    photos = drawings.photographs()
    return [photos[name] for name in TEST_PHOTOGRAPHS]


def single_scenes(concepts: list[str], seed: int) -> list[Scene]:
    """One scene for each concept, in order, one thing in each."""
    rng = np.random.default_rng([seed, 0])
    icons, photos = drawings.load_icons(TEST_STYLE, concepts, size_px=224), _test_photographs()
    return [compose(rng, icons, (concept,), photos) for concept in concepts]


def crowded_scenes(concepts: list[str], seed: int, count: int = N_CROWDED) -> list[Scene]:
    """Scenes with two to four different things each."""
    rng = np.random.default_rng([seed, 1])
    icons, photos = drawings.load_icons(TEST_STYLE, concepts, size_px=224), _test_photographs()
    chosen = [
        tuple(rng.choice(concepts, rng.integers(2, 5), replace=False).tolist())
        for _ in range(count)
    ]
    return [compose(rng, icons, things, photos) for things in chosen]


def query(concept: str) -> str:
    """The one prompt of every table."""
    return PROMPT.format(concept.replace("-", " "))


def ranks_of_concepts(similarities: np.ndarray) -> np.ndarray:
    """How many scenes come before each concept's own, from (n_concepts, n_scenes) similarities."""
    return (similarities > np.diag(similarities)[:, None]).sum(1)


def single_recalls(
    concepts: list[str], scenes: list[Scene], embed_images: Embed, embed_texts: Embed
) -> dict[str, float]:
    """R@1, R@5, R@10 and the mean reciprocal rank over one scene of each concept."""
    images = embed_images([scene.pixels for scene in scenes])
    ranks = ranks_of_concepts(embed_texts([query(concept) for concept in concepts]) @ images.T)
    recalls = {f"R@{k}": float(np.mean(ranks < k)) for k in (1, 5, 10)}
    return {**recalls, "mean reciprocal rank": float(np.mean(1 / (ranks + 1)))}


def crowded_recalls(
    scenes: list[Scene], embed_images: Embed, embed_texts: Embed
) -> dict[str, float]:
    """For each concept in some crowded scene: whether the first hit shows it, or one of three."""
    present = sorted({concept for scene in scenes for concept in scene.concepts})
    shows = np.array([[concept in scene.concepts for scene in scenes] for concept in present])
    images = embed_images([scene.pixels for scene in scenes])
    order = np.argsort(-(embed_texts([query(concept) for concept in present]) @ images.T), axis=1)
    hits = np.take_along_axis(shows, order, 1)
    return {
        "first hit shows it": float(hits[:, 0].mean()),
        "one of the first three does": float(hits[:, :3].any(1).mean()),
        "by chance, first hit": float(shows.mean()),
        "concepts asked": float(len(present)),
    }


def drawn_or_kept(
    concepts: list[str], seed: int, path: Path | None
) -> tuple[list[Scene], list[Scene]]:
    """Single and crowded scenes: from the file where there is one, else drawn, and written to it.

    With the file the test needs NumPy and Pillow only; drawing needs what `drawings` needs.
    """
    if path and path.exists():
        kept = np.load(path)
        names = [tuple(line.split(",")) for line in kept["concepts"].tolist()]
        scenes = [Scene(*scene) for scene in zip(kept["pixels"], names, strict=True)]
        return scenes[: len(concepts)], scenes[len(concepts) :]
    single, crowded = single_scenes(concepts, seed), crowded_scenes(concepts, seed)
    if path:
        lines = [",".join(scene.concepts) for scene in (*single, *crowded)]
        pixels = np.stack([scene.pixels for scene in (*single, *crowded)])
        np.savez_compressed(path, pixels=pixels, concepts=lines)
    return single, crowded


def clip_pixels(pixels: np.ndarray, size_px: int) -> np.ndarray:
    """A square picture as the image tower takes it: float32, (3, size_px, size_px)."""
    small = Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.BICUBIC)
    return ((np.asarray(small, np.float32) / 255 - CLIP_MEAN) / CLIP_STD).transpose(2, 0, 1)


def openvino_encoder(name: str) -> tuple[Embed, Embed]:
    """The packaged encoder, as users run it."""
    from datumaro_embed import ClipEncoder

    encoder = ClipEncoder.load(name)
    return encoder.embed_images, encoder.embed_texts


def checkpoint_encoder(folder: Path) -> tuple[Embed, Embed]:
    """The checkpoint through transformers: what the packaged model is compared with."""
    import torch
    from torch.nn import functional
    from transformers import AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size_px = model.config.vision_config.image_size

    @torch.no_grad()
    def embed_images(images: list[np.ndarray]) -> np.ndarray:
        pixels = torch.from_numpy(np.stack([clip_pixels(image, size_px) for image in images]))
        return functional.normalize(
            model.visual_projection(model.vision_model(pixels).pooler_output), dim=-1
        ).numpy()

    @torch.no_grad()
    def embed_texts(texts: list[str]) -> np.ndarray:
        length = model.config.text_config.max_position_embeddings
        ids = tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        pooled = model.text_model(
            input_ids=ids.input_ids, attention_mask=ids.attention_mask
        ).pooler_output
        return functional.normalize(model.text_projection(pooled), dim=-1).numpy()

    return embed_images, embed_texts


def table(rows: dict[str, float]) -> str:
    """A markdown table of names and values."""
    lines = ["| measure | value |", "|---|---|"]
    lines += [
        f"| {name} | {value:.0f} |" if value > 1 else f"| {name} | {value:.3f} |"
        for name, value in rows.items()
    ]
    return "\n".join(lines)


def written_into(page: str, results: str) -> str:
    """The page with its results replaced."""
    before, _, rest = page.partition(TABLE_START)
    _, _, after = rest.partition(TABLE_END)
    return f"{before}{TABLE_START}\n\n{results}\n\n{TABLE_END}{after or chr(10)}"


def training_facts(folder: Path) -> str:
    """What the training wrote down about itself, as a markdown list."""
    path = folder / "training.json"
    facts = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def main() -> None:
    """Parse the options, embed, print both tables and, when asked, put them into the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model", default="demo", help="name or folder of a packaged model")
    parser.add_argument(
        "--checkpoint", type=Path, help="a Hugging Face checkpoint to run with torch instead"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="of the scenes")
    parser.add_argument("--scenes", type=Path, help="npz to keep the drawn scenes in, or to read")
    parser.add_argument(
        "--markdown", type=Path, help="page to write the tables into, between its two markers"
    )
    parser.add_argument(
        "--facts",
        type=Path,
        default=Path("models/demo-checkpoint"),
        help="folder with training.json",
    )
    options = parser.parse_args()
    start = time.monotonic()
    encoder = (
        checkpoint_encoder(options.checkpoint)
        if options.checkpoint
        else openvino_encoder(options.model)
    )
    concepts = everyday_concepts()
    scenes = drawn_or_kept(concepts, options.seed, options.scenes)
    single = single_recalls(concepts, scenes[0], *encoder)
    crowded = crowded_recalls(scenes[1], *encoder)
    results = (
        f"One `{TEST_STYLE}` scene for each of {len(concepts)} concepts; "
        f"query: `{PROMPT.format('…')}`; scene seed {options.seed}.\n\n{table(single)}\n\n"
        f"{N_CROWDED} scenes with two to four `{TEST_STYLE}` drawings each; same query."
        f"\n\n{table(crowded)}"
    )
    print(results, f"\n\n{time.monotonic() - start:.0f} s", file=sys.stdout)
    if options.markdown:
        command = " ".join(["python scripts/demo_model/evaluate.py", *sys.argv[1:]])
        page = options.markdown.read_text("utf-8")
        facts = f"{training_facts(options.facts)}\n\n{licence_table()}"
        options.markdown.write_text(
            written_into(page, f"{results}\n\nCommand: `{command}`\n\n{facts}"), "utf-8"
        )


if __name__ == "__main__":
    main()
