"""Train the demo model: a small CLIP that knows everyday drawings.

    python scripts/demo_model/train.py --minutes 95 --teacher-minutes 25 --seed 0

Everything comes from packages (see `drawings`); nothing is downloaded from a model hub. Two
stages share one text tower: first a small convolutional network learns with it, then the image
tower, a transformer, learns both from the captions and from that network's answers. Only the two
transformers are kept, as a Hugging Face checkpoint with its weights rounded to fp16. One artist's
drawings (``noto``) are never trained on: they are the test.

Needs torch, transformers, tokenizers, safetensors, numpy, pillow, resvg-py, scikit-image and
scikit-learn.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import distributed, multiprocessing, nn
from torch.nn import functional
from transformers import CLIPModel

sys.path.append(str(Path(__file__).parents[1] / "sample_data"))  # has drawings.py

from batches import CROWDED, SceneSampler
from captions import everyday_concepts
from evaluate import clip_pixels, query, ranks_of_concepts, single_scenes
from model import DIM, SIZE_PX, build_model, export, image_embeddings, text_embeddings
from optim import Optimisers
from teacher import Teacher
from texts import TextBatches, contrastive_loss, learned_tokenizer, taught_words

MONITOR_SEED = 1  # not the seed of the reported scenes


class Run:
    """What both stages share: data, text tower, clock, monitor and the weights kept on the way."""

    def __init__(self, options: argparse.Namespace, rank: int) -> None:
        self.options, self.rank = options, rank
        self.concepts, phrases = taught_words()
        self.tokenizer = Tokenizer.from_file(str(options.tokenizer))
        everyday = everyday_concepts()
        self.sampler = SceneSampler(
            self.concepts, set(everyday), SIZE_PX, options.seed + 1000 * rank
        )
        self.texts = TextBatches(phrases, self.tokenizer, options.seed + 1 + 1000 * rank)
        self.model = build_model(self.tokenizer)
        self.queries = self.texts.ids([query(concept) for concept in everyday])
        scenes = single_scenes(everyday, MONITOR_SEED)
        pixels = np.stack([clip_pixels(scene.pixels, SIZE_PX) for scene in scenes])
        self.monitor_pixels = torch.from_numpy(pixels)
        self.n_seen: dict[str, int] = {}
        self.folder = options.work
        self.folder.mkdir(parents=True, exist_ok=True)
        self.say(
            f"{len(self.concepts)} concepts, {self.sampler.n_drawings} drawings; "
            f"left out as too like the test style's: {', '.join(self.sampler.repeated)}"
        )

    def say(self, line: str) -> None:
        """Print, from one of the processes."""
        if self.rank == 0:
            print(line, flush=True)

    def facts(self) -> dict[str, object]:
        """What a reader needs to repeat the run."""
        return {
            "command": " ".join(["python scripts/demo_model/train.py", *sys.argv[1:]]),
            "seed": self.options.seed,
            "scenes seen": dict(self.n_seen),
            "minutes": {"teacher": self.options.teacher_minutes, "student": self.options.minutes},
            "concepts": len(self.concepts),
            "drawings": self.sampler.n_drawings,
            "torch": torch.__version__,
        }

    @torch.no_grad()
    def monitor(self, embed: Callable[[torch.Tensor], torch.Tensor], model: CLIPModel) -> str:
        """R@1 and R@5 on test-style scenes of another seed: watched, never trained on."""
        with torch.autocast("cpu", torch.bfloat16):
            images = functional.normalize(embed(self.monitor_pixels).float(), dim=-1)
            similarities = text_embeddings(model, self.queries) @ images.T
        ranks = ranks_of_concepts(similarities.float().numpy())
        return f"R@1 {np.mean(ranks < 1):.3f} R@5 {np.mean(ranks < 5):.3f}"

    def stage(
        self,
        name: str,
        minutes: float,
        modules: list[nn.Module],
        lrs: tuple[float, float],
        loss_of: Callable[[torch.Tensor, np.ndarray], torch.Tensor],
        embed_of: Callable[
            [list[nn.Module]], tuple[Callable[[torch.Tensor], torch.Tensor], CLIPModel]
        ],
    ) -> list[nn.Module]:
        """Train ``modules`` for ``minutes``; returns their averaged copies.

        ``loss_of`` takes scenes and what is in them; ``embed_of`` takes averaged copies and
        returns what `monitor` needs.
        """
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
                self.say(
                    f"{name} {(said - start) / 60:.1f} min {n_seen} scenes "
                    f"{n_seen / (said - start):.0f}/s loss {np.mean(losses[-100:]):.3f} "
                    f"{self.monitor(*embed_of(optimisers.averaged))}"
                )
                self.keep(name, optimisers.averaged)
        self.say(f"{name} done: {n_seen} scenes {self.monitor(*embed_of(optimisers.averaged))}")
        if self.rank == 0:
            self.keep(name, optimisers.averaged)
        self.n_seen[name] = n_seen
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
            picked, several, right = self.texts.for_scenes(chosen)
            images = functional.normalize(teacher(pixels).float(), dim=-1)
            return contrastive_loss(
                texts.scale() * images @ self.texts.embedded(model, picked, several).T, right
            )

        if self.options.start:
            teacher.load_state_dict(load_file(self.options.start / "teacher-0.safetensors"))
            texts.load_state_dict(load_file(self.options.start / "teacher-1.safetensors"))
        minutes = self.options.teacher_minutes
        averaged = self.stage(
            "teacher",
            minutes,
            [teacher, texts],
            (0.02, 2e-3),
            loss_of,
            lambda kept: (kept[0], kept[1].towers),
        )
        self.model.load_state_dict(averaged[1].towers.state_dict())
        return averaged[0]

    def load_teacher(self, folder: Path) -> Teacher:
        """The averaged network and text tower of an earlier stage one."""
        teacher, texts = Teacher(DIM), TextTower(self.model)
        teacher.load_state_dict(load_file(folder / "teacher-0.safetensors"))
        texts.load_state_dict(load_file(folder / "teacher-1.safetensors"))
        return teacher.to(memory_format=torch.channels_last).eval().requires_grad_(False)

    def teach_transformer(self, teacher: Teacher) -> CLIPModel:
        """Stage two: the image tower, from captions and the network's answers; the text rests."""
        model = self.model.requires_grad_(True)
        for part in (model.text_model, model.text_projection):
            part.requires_grad_(False)
        model.logit_scale.requires_grad_(False)
        scale = model.logit_scale.exp().clamp(max=60).item()
        bank = self.texts.bank(model)
        forward = torch.compile(model.vision_model) if self.options.compile else model.vision_model

        def loss_of(pixels: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
            picked, several, right = self.texts.for_scenes(chosen, n_others=len(self.concepts))
            with torch.no_grad():
                templates = torch.from_numpy(self.texts.rng.integers(len(bank), size=len(picked)))
                texts = bank[templates, torch.from_numpy(picked)]
                if several:
                    texts = torch.cat([texts, text_embeddings(model, self.texts.ids(several))])
                taught = functional.normalize(teacher(pixels).float(), dim=-1)
                answers = (scale * taught @ texts.T).softmax(1)
            pooled = forward(pixel_values=pixels).pooler_output
            own = functional.normalize(model.visual_projection(pooled).float(), dim=-1)
            logits = scale * own @ texts.T
            follow = -(answers * logits.log_softmax(1)).sum(1).mean()
            apart = (1 - (own * taught).sum(1)).mean()
            return 0.5 * contrastive_loss(logits, right) + follow + 4.0 * apart

        return self.stage(
            "student",
            self.options.minutes,
            [model],
            (0.02, 1.5e-3),
            loss_of,
            lambda kept: (lambda pixels: image_embeddings(kept[0], pixels), kept[0]),
        )[0]

    def practise_crowds(self, model: CLIPModel) -> CLIPModel:
        """Stage three: the image tower alone, mostly on crowded scenes; the text rests."""
        self.sampler.shares, self.sampler.twins = CROWDED, True
        model = model.train().requires_grad_(True)
        for part in (model.text_model, model.text_projection):
            part.requires_grad_(False)
        model.logit_scale.requires_grad_(False)
        scale = model.logit_scale.exp().clamp(max=60).item()
        bank = self.texts.bank(model)
        forward = torch.compile(model.vision_model) if self.options.compile else model.vision_model

        def loss_of(pixels: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
            picked, several, right = self.texts.for_scenes(chosen, n_others=len(self.concepts))
            with torch.no_grad():
                templates = torch.from_numpy(self.texts.rng.integers(len(bank), size=len(picked)))
                texts = bank[templates, torch.from_numpy(picked)]
                if several:
                    texts = torch.cat([texts, text_embeddings(model, self.texts.ids(several))])
            empty = self.sampler.empty(len(pixels) // 5)
            pooled = forward(pixel_values=torch.cat([pixels, empty])).pooler_output
            own = functional.normalize(model.visual_projection(pooled).float(), dim=-1)
            logits = scale * own[: len(pixels)] @ texts.T
            return contrastive_loss(logits, right) + 20 * crowding(own)

        return self.stage(
            "crowds",
            self.options.crowd_minutes,
            [model],
            (0.006, 5e-4),
            loss_of,
            lambda kept: (lambda pixels: image_embeddings(kept[0], pixels), kept[0]),
        )[0]


def crowding(own: torch.Tensor, *, near: float = 0.75) -> torch.Tensor:
    """How much nearer than ``near`` different scenes are: what they share is not all they are.

    Without it, two scenes of the same things, or photographs of nothing that is known, pass for
    near-duplicates (cosine 0.95).
    """
    too_near = (own @ own.T - near).clamp(min=0).square()
    return (too_near.sum() - too_near.diagonal().sum()) / len(own)


def share_gradients(modules: list[nn.Module], progress: float) -> float:
    """Average gradients over the processes; returns the average progress: all stop at one step.

    One thread in each of two processes, meeting once a step, is twice as fast here as two threads
    meeting in every operation, the more so when other programs run.
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


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    add = parser.add_argument
    add("--minutes", type=float, default=55, help="training time of the transformer")
    add("--teacher-minutes", type=float, default=25, help="training time of the teaching network")
    add("--teacher", type=Path, help="folder of an earlier run: take its network, train none")
    add("--start", type=Path, help="folder of an earlier run: train its network further")
    add("--crowd-minutes", type=float, default=20, help="of these, on scenes of several things")
    add("--student", type=Path, help="weights of an earlier run: train only on crowded scenes")
    add("--export", type=Path, nargs="+", help="weights of earlier runs: only export their mean")
    add("--shares", type=float, nargs="+", help="of each of these in the mean (default: equal)")
    add("--tokenizer", type=Path, help="of the earlier run: its weights fit no other")
    add("--batch", type=int, default=80, help="scenes in a step of one process")
    add("--seed", type=int, default=0)
    add("--processes", type=int, default=2, help="each with its own scenes; gradients are averaged")
    add("--threads", type=int, default=1, help="in each process")
    add("--say-minutes", type=float, default=3, help="how often to print and keep weights")
    add("--compile", action="store_true", help="compile the transformer (needs a C++ compiler)")
    default_work = Path(tempfile.gettempdir()) / "demo-training"
    add("--work", type=Path, default=default_work, help="where weights are kept on the way")
    add("--out", type=Path, default=Path("models/demo-checkpoint"))
    return parser.parse_args(arguments)


def main() -> None:
    """Train both stages and write the checkpoint, or only write it."""
    options = options_of()
    if options.tokenizer is None and (
        options.student or options.start or options.teacher or options.export
    ):
        sys.exit("Weights of an earlier run fit only its tokenizer: give it with --tokenizer.")
    if options.tokenizer is None:
        options.work.mkdir(parents=True, exist_ok=True)
        options.tokenizer = options.work / "tokenizer.json"
        learned_tokenizer(options.seed).save(str(options.tokenizer))
    if options.export:
        tokenizer = Tokenizer.from_file(str(options.tokenizer))
        model = build_model(tokenizer)
        model.load_state_dict(mean_of(options.export, options.shares))
        export(model, tokenizer, options.out)
    elif options.processes == 1:
        work(0, options)
    else:
        multiprocessing.spawn(work, (options,), options.processes)


def mean_of(paths: list[Path], shares: list[float] | None) -> dict[str, torch.Tensor]:
    """Mean weights of runs from one start: better than each (model soups, arXiv:2203.05482)."""
    runs = [load_file(path) for path in paths]
    shares = shares or [1 / len(runs)] * len(runs)
    pairs = list(zip(shares, runs, strict=True))
    return {name: sum(share * run[name] for share, run in pairs) for name in runs[0]}


def work(rank: int, options: argparse.Namespace) -> None:
    """One process of the training."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    run = Run(options, rank)
    if options.processes > 1:
        meeting = f"file://{tempfile.gettempdir()}/demo-training-{os.getppid()}"
        distributed.init_process_group(
            "gloo", init_method=meeting, rank=rank, world_size=options.processes
        )
    if options.student:
        run.model.load_state_dict(load_file(options.student))
        model = run.model
    else:
        teacher = run.load_teacher(options.teacher) if options.teacher else run.teach_network()
        model = run.teach_transformer(teacher)
    model = run.practise_crowds(model)
    if rank == 0:
        export(model, run.tokenizer, options.out, run.facts())
        run.say(f"{run.n_seen} scenes; written to {options.out}")


if __name__ == "__main__":
    main()
