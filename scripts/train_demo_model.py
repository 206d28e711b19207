"""Train the demo model: a small CLIP that knows everyday drawings.

    python scripts/train_demo_model.py --minutes 95 --teacher-minutes 25 --seed 0

Everything comes from packages (see `drawings`); nothing is downloaded from a model hub. Two stages share one text
tower: first a small convolutional network learns with it, then the image tower, a transformer, learns both from the
captions and from that network's answers. Only the two transformers are kept, as a Hugging Face checkpoint with its
weights rounded to fp16. One artist's drawings (``noto``) are never trained on: they are the test.

Needs torch, transformers, tokenizers, safetensors, numpy, pillow, resvg-py, scikit-image and scikit-learn.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import distributed, multiprocessing, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

import demo_captions
import demo_scenes
import drawings
from demo_batches import SceneSampler
from demo_optim import Optimisers
from demo_teacher import Teacher
from demo_tokenizer import END, PAD, START, save_tokenizer, train_tokenizer
from eval_demo_model import ranks_of_concepts, single_scenes

SIZE_PX, PATCH_PX, CONTEXT = 64, 8, 32
DIM, WIDTH, LAYERS, HEADS = 256, 192, 6, 3
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS = 128, 2, 2
MONITOR_SEED = 1  # not the seed of the reported scenes


def build_model(tokenizer: object) -> CLIPModel:
    """An untrained CLIP, its positions started as a two-dimensional grid of waves."""
    text = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": TEXT_HEADS,
        "max_position_embeddings": CONTEXT,
        "hidden_act": "gelu",
        "pad_token_id": tokenizer.token_to_id(PAD),
        "bos_token_id": tokenizer.token_to_id(START),
        "eos_token_id": tokenizer.token_to_id(END),
        "projection_dim": DIM,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "image_size": SIZE_PX,
        "patch_size": PATCH_PX,
        "hidden_act": "gelu",
        "projection_dim": DIM,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIM, logit_scale_init_value=math.log(25)))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5 * 0.6)
    for layer in model.vision_model.encoder.layers:
        layer.self_attn.k_proj.weight.data.copy_(layer.self_attn.q_proj.weight.data)
    model.vision_model.embeddings.position_embedding.weight.data[1:] = _waves(SIZE_PX // PATCH_PX, WIDTH)
    return model


def _waves(side: int, width: int) -> torch.Tensor:
    """Sines and cosines of rows and columns: tensor of shape (side * side, width)."""
    frequencies = torch.exp(-torch.arange(width // 4) / (width // 4) * math.log(50.0))
    phases = torch.arange(side)[:, None] * frequencies
    axis = torch.cat([phases.sin(), phases.cos()], 1)
    grid = torch.cat([axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)], 2)
    return grid.reshape(side * side, width) * 0.3


class TextBatches:
    """Token ids of every phrase in every template, made once."""

    def __init__(self, phrases: demo_captions.Phrases, tokenizer: object, seed: int) -> None:
        self.phrases, self.tokenizer = phrases, tokenizer
        self.rng = np.random.default_rng(seed)

    def ids(self, texts: list[str]) -> torch.Tensor:
        """Token ids, padded to the longest: int64 tensor of shape (n, length)."""
        rows = [encoding.ids[: CONTEXT - 1] for encoding in self.tokenizer.encode_batch(texts)]
        rows = [row if row[-1] == self.tokenizer.token_to_id(END) else [*row, self.tokenizer.token_to_id(END)] for row in rows]
        padded = torch.full((len(rows), max(map(len, rows))), self.tokenizer.token_to_id(PAD))
        for number, row in enumerate(rows):
            padded[number, : len(row)] = torch.tensor(row)
        return padded

    def for_scenes(self, chosen: np.ndarray, n_others: int = 300) -> tuple[list[list[str]], torch.Tensor]:
        """A caption of every concept shown and of some others, one of every crowded scene, and which are right.

        Returns
        -------
        two lists of str
            Captions with one thing, then with several: apart, because a batch is as long as its longest text.
        float32 tensor of shape (n_scenes, n_texts)
            1 where the text is right for the scene.
        """
        n_concepts = len(self.phrases.of_concept)
        shown = np.unique(chosen[chosen >= 0])
        others = self.rng.permutation(np.setdiff1d(np.arange(n_concepts), shown))[:n_others]
        picked = [self.phrases.sample(concept, self.rng) for concept in np.concatenate([shown, others])]
        single = [demo_captions.caption([self.phrases.texts[phrase]], self.rng) for phrase in picked]
        inside = np.zeros((len(chosen), n_concepts), np.float32)
        for column in chosen.T:
            scenes = np.flatnonzero(column >= 0)
            inside[scenes, column[scenes]] = 1.0
        right = (inside @ self.phrases.belongs[:, picked] > 0).astype(np.float32)
        crowded = np.flatnonzero((chosen >= 0).sum(1) > 1)
        joint = np.zeros((len(chosen), len(crowded)), np.float32)
        joint[crowded, np.arange(len(crowded))] = 1.0
        several = [self._spoken(self.rng.permutation(row[row >= 0])) for row in chosen[crowded]]
        return [single, several], torch.from_numpy(np.concatenate([right, joint], 1))

    def _spoken(self, concepts: np.ndarray) -> str:
        phrases = [self.phrases.texts[self.phrases.sample(concept, self.rng)] for concept in concepts]
        return demo_captions.caption(phrases, self.rng)

    def embedded(self, model: CLIPModel, groups: list[list[str]]) -> torch.Tensor:
        """Unit embeddings of the texts of all groups, in order."""
        return torch.cat([text_embeddings(model, self.ids(texts)) for texts in groups if texts])


def text_embeddings(model: CLIPModel, ids: torch.Tensor) -> torch.Tensor:
    """Unit embeddings of shape (n, DIM). The tower is causal, so padding after the end changes nothing."""
    return F.normalize(model.text_projection(model.text_model(input_ids=ids).pooler_output).float(), dim=-1)


def image_embeddings(model: CLIPModel, pixels: torch.Tensor) -> torch.Tensor:
    """Unit embeddings of shape (n, DIM)."""
    return F.normalize(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output).float(), dim=-1)


def contrastive_loss(logits: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Cross-entropy both ways where several texts are right for a scene and several scenes for a text."""
    smoothed = 0.95 * right / right.sum(1, keepdim=True) + 0.05 / right.shape[1]
    to_text = -(smoothed * logits.log_softmax(1)).sum(1).mean()
    asked = right.sum(0) > 0
    targets = right[:, asked] / right[:, asked].sum(0)
    to_image = -(targets * logits[:, asked].log_softmax(0)).sum(0).mean()
    return 0.6 * to_text + 0.4 * to_image


class Run:
    """What both stages share: data, text tower, clock, monitor and the weights kept on the way."""

    def __init__(self, options: argparse.Namespace, rank: int) -> None:
        self.options, self.rank = options, rank
        self.concepts = demo_captions.training_concepts()
        everyday = demo_captions.everyday_concepts()
        self.sampler = SceneSampler(self.concepts, set(everyday), SIZE_PX, options.seed + 1000 * rank)
        phrases = demo_captions.Phrases(list(self.concepts))
        rng = np.random.default_rng(options.seed)
        corpus = [demo_captions.caption([text], rng) for text in phrases.texts for _ in range(6)]
        self.tokenizer = train_tokenizer(corpus)
        self.texts = TextBatches(phrases, self.tokenizer, options.seed + 1 + 1000 * rank)
        self.model = build_model(self.tokenizer)
        self.queries = self.texts.ids([demo_captions.PROMPT.format(c.replace("-", " ")) for c in everyday])
        scenes = single_scenes(everyday, MONITOR_SEED)
        pixels = np.stack([preprocess(scene.pixels) for scene in scenes])
        self.monitor_pixels, self.n_seen = torch.from_numpy(pixels), 0
        self.folder = Path(options.work)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.say(f"{len(self.concepts)} concepts, {self.sampler.n_drawings} drawings; left out as too like the test "
                 f"style's: {', '.join(self.sampler.repeated)}")

    def say(self, line: str) -> None:
        """Print, from one of the processes."""
        if self.rank == 0:
            print(line, flush=True)

    @torch.no_grad()
    def monitor(self, embed: object, model: CLIPModel) -> str:
        """R@1 and R@5 on test-style scenes of another seed: watched, never trained on."""
        with torch.autocast("cpu", torch.bfloat16):
            similarities = text_embeddings(model, self.queries) @ F.normalize(embed(self.monitor_pixels).float(), dim=-1).T
        ranks = ranks_of_concepts(similarities.float().numpy())
        return f"R@1 {np.mean(ranks < 1):.3f} R@5 {np.mean(ranks < 5):.3f}"

    def stage(self, name: str, minutes: float, modules: list[nn.Module], lrs: tuple[float, float], loss_of, embed_of) -> list:
        """Train ``modules`` for ``minutes``; returns their averaged copies."""
        optimisers = Optimisers(modules, *lrs)
        start = said = time.monotonic()
        n_seen, losses = 0, []
        progress = 0.0
        while progress < 1:
            pixels, chosen = self.sampler.batch(self.options.batch)
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(pixels, chosen)
            loss.backward()
            progress = share_gradients(modules, (time.monotonic() - start) / (60 * minutes))
            optimisers.step(progress)
            losses.append(loss.item())
            n_seen += len(pixels) * self.options.processes
            if self.rank == 0 and time.monotonic() - said > 60 * self.options.say_minutes:
                said = time.monotonic()
                averaged = optimisers.averaged
                self.say(f"{name} {(said - start) / 60:.1f} min {n_seen} scenes {n_seen / (said - start):.0f}/s "
                         f"loss {np.mean(losses[-100:]):.3f} {self.monitor(*embed_of(averaged))}")
                self.keep(name, averaged)
        self.say(f"{name} done: {n_seen} scenes {self.monitor(*embed_of(optimisers.averaged))}")
        if self.rank == 0:
            self.keep(name, optimisers.averaged)
        self.n_seen += n_seen
        return optimisers.averaged

    def keep(self, name: str, modules: list[nn.Module]) -> None:
        """Write averaged weights, atomically, so that a stopped run loses little."""
        for number, module in enumerate(modules):
            path = self.folder / f"{name}-{number}.safetensors"
            save_file({k: v.contiguous() for k, v in module.state_dict().items()}, f"{path}.tmp")
            os.replace(f"{path}.tmp", path)

    def teach_network(self) -> Teacher:
        """Stage one: the convolutional network and the text tower."""
        teacher = Teacher(DIM).to(memory_format=torch.channels_last)
        texts = TextTower(self.model)
        model = texts.towers

        def loss_of(pixels: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
            sentences, right = self.texts.for_scenes(chosen)
            images = F.normalize(teacher(pixels).float(), dim=-1)
            return contrastive_loss(texts.scale() * images @ self.texts.embedded(model, sentences).T, right)

        averaged = self.stage("teacher", self.options.teacher_minutes, [teacher, texts], (0.02, 2e-3), loss_of,
                              lambda kept: (kept[0], kept[1].towers))
        self.model.load_state_dict(averaged[1].towers.state_dict())
        return averaged[0]

    def load_teacher(self, folder: Path) -> Teacher:
        """The averaged network and text tower of an earlier stage one."""
        teacher, texts = Teacher(DIM), TextTower(self.model)
        teacher.load_state_dict(load_file(folder / "teacher-0.safetensors"))
        texts.load_state_dict(load_file(folder / "teacher-1.safetensors"))
        return teacher.to(memory_format=torch.channels_last).eval().requires_grad_(False)

    def teach_transformer(self, teacher: Teacher) -> CLIPModel:
        """Stage two: the image tower, from captions and from the network's answers; the text tower rests."""
        model = self.model.requires_grad_(True)
        for part in (model.text_model, model.text_projection):
            part.requires_grad_(False)
        model.logit_scale.requires_grad_(False)
        scale = model.logit_scale.exp().item()
        forward = torch.compile(model.vision_model) if self.options.compile else model.vision_model

        def loss_of(pixels: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
            sentences, right = self.texts.for_scenes(chosen)
            with torch.no_grad():
                texts = self.texts.embedded(model, sentences)
                taught = F.normalize(teacher(pixels).float(), dim=-1)
                answers = (scale * taught @ texts.T).softmax(1)
            own = F.normalize(model.visual_projection(forward(pixel_values=pixels).pooler_output).float(), dim=-1)
            logits = scale * own @ texts.T
            follow = -(answers * logits.log_softmax(1)).sum(1).mean()
            apart = (1 - (own * taught).sum(1)).mean()
            return 0.5 * contrastive_loss(logits, right) + follow + 4.0 * apart

        averaged = self.stage("student", self.options.minutes, [model], (0.02, 1.5e-3), loss_of,
                              lambda kept: (lambda pixels: image_embeddings(kept[0], pixels), kept[0]))
        return averaged[0]


def share_gradients(modules: list[nn.Module], progress: float) -> float:
    """Average gradients over the processes; returns the average progress, so that all stop at the same step.

    One thread in each of two processes, meeting once a step, is twice as fast here as two threads meeting in every
    operation, the more so when other programs run.
    """
    if not distributed.is_initialized():
        return progress
    gradients = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), torch.tensor([progress])])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    position = 0
    for gradient in gradients:
        gradient.copy_(flat[position : position + gradient.numel()].view_as(gradient))
        position += gradient.numel()
    return float(flat[-1])


class TextTower(nn.Module):
    """The text half of a CLIP model with its logit scale, as one module to train."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.towers = model
        for part in (model.vision_model, model.visual_projection):
            part.requires_grad_(False)

    def scale(self) -> torch.Tensor:
        """The factor of the cosines, at most 60."""
        return self.towers.logit_scale.exp().clamp(max=60)


def preprocess(pixels: np.ndarray) -> np.ndarray:
    """What CLIPImageProcessor does with the settings written by `export`."""
    from eval_demo_model import clip_pixels

    return clip_pixels(pixels, SIZE_PX)


def export(model: CLIPModel, tokenizer: object, folder: Path) -> None:
    """Write the checkpoint: weights rounded to fp16, tokenizer, image settings. Replaces files one by one."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = copy.deepcopy(model).half()
    kept.config.dtype = "float16"
    kept.save_pretrained(folder)
    save_tokenizer(tokenizer, folder, CONTEXT)
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": SIZE_PX},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": SIZE_PX, "width": SIZE_PX},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def main() -> None:
    """Parse the options, train both stages, write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=70, help="training time of the transformer")
    parser.add_argument("--teacher-minutes", type=float, default=25, help="training time of the convolutional network")
    parser.add_argument("--teacher", type=Path, help="folder of an earlier run: take its network instead of training one")
    parser.add_argument("--student", type=Path, help="weights of an earlier run's averaged model: only export them")
    parser.add_argument("--batch", type=int, default=128, help="scenes in a step of one process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="each trains on its own scenes; gradients are averaged")
    parser.add_argument("--threads", type=int, default=1, help="in each process")
    parser.add_argument("--say-minutes", type=float, default=3, help="how often to print and keep weights")
    parser.add_argument("--compile", action="store_true", help="compile the transformer (needs a C++ compiler)")
    parser.add_argument("--work", default="/tmp/demo-training", help="where weights are kept on the way")
    parser.add_argument("--out", type=Path, default=Path("models/demo-checkpoint"))
    options = parser.parse_args()
    if options.processes == 1 or options.student:
        return work(0, options)
    multiprocessing.spawn(work, (options,), options.processes)


def work(rank: int, options: argparse.Namespace) -> None:
    """One process of the training."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    run = Run(options, rank)
    if options.student:
        run.model.load_state_dict(load_file(options.student))
        return export(run.model, run.tokenizer, options.out)
    if options.processes > 1:
        meeting = f"file://{tempfile.gettempdir()}/demo-training-{os.getppid()}"
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=options.processes)
    teacher = run.load_teacher(options.teacher) if options.teacher else run.teach_network()
    model = run.teach_transformer(teacher)
    if rank == 0:
        export(model, run.tokenizer, options.out)
        run.say(f"{run.n_seen} scenes in all; written to {options.out}")


if __name__ == "__main__":
    main()
