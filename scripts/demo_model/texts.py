"""Captions for a batch of scenes, and which of them are right for which scene."""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import CLIPModel

from captions import TEMPLATES, Phrases, caption, training_concepts
from model import CONTEXT, text_embeddings
from tokenizer import END, PAD, train_tokenizer


def taught_words() -> tuple[dict[str, list[tuple[str, str]]], Phrases]:
    """Concepts with their drawings, and their phrases."""
    concepts = training_concepts()
    return concepts, Phrases(list(concepts))


def learned_tokenizer(seed: int) -> Tokenizer:
    """A tokenizer learned from captions: learn it once and keep it.

    The trainer breaks ties by chance, whatever the seed: a second one numbers its tokens otherwise,
    and weights that were trained with the first misread it.
    """
    rng, phrases = np.random.default_rng(seed), taught_words()[1]
    corpus = [caption([text], rng) for text in phrases.texts for _ in range(6)]
    return train_tokenizer(corpus)


class TextBatches:
    """Random captions of concepts, as text, token ids and embeddings."""

    def __init__(self, phrases: Phrases, tokenizer: Tokenizer, seed: int) -> None:
        self.phrases, self.tokenizer = phrases, tokenizer
        self.rng = np.random.default_rng(seed)

    def ids(self, texts: list[str]) -> torch.Tensor:
        """Token ids, padded to the longest: int64 tensor of shape (n, length)."""
        end, pad = (self.tokenizer.token_to_id(token) for token in (END, PAD))
        rows = [
            [*encoding.ids[: CONTEXT - 1], end] for encoding in self.tokenizer.encode_batch(texts)
        ]
        rows = [row[: row.index(end) + 1] for row in rows]
        padded = torch.full((len(rows), max(map(len, rows))), pad)
        for number, row in enumerate(rows):
            padded[number, : len(row)] = torch.tensor(row)
        return padded

    def for_scenes(
        self, chosen: np.ndarray, n_others: int = 200
    ) -> tuple[np.ndarray, list[str], torch.Tensor]:
        """What to say about scenes: phrases, captions of crowded scenes, and which are right.

        Every concept shown gets a phrase, and so do ``n_others`` that are not shown.

        Returns
        -------
        int array of phrase numbers
        list of str
            Captions that name several things.
        float32 tensor of shape (n_scenes, n_phrases + n_captions)
            1 where the text is right for the scene.
        """
        n_concepts = len(self.phrases.of_concept)
        shown = np.unique(chosen[chosen >= 0])
        others = self.rng.permutation(np.setdiff1d(np.arange(n_concepts), shown))[:n_others]
        picked = np.array(
            [self.phrases.sample(concept, self.rng) for concept in np.concatenate([shown, others])]
        )
        inside = np.zeros((len(chosen), n_concepts), np.float32)
        for column in chosen.T:
            scenes = np.flatnonzero(column >= 0)
            inside[scenes, column[scenes]] = 1.0
        right = (inside @ self.phrases.belongs[:, picked] > 0).astype(np.float32)
        crowded = np.flatnonzero((chosen >= 0).sum(1) > 1)
        joint = np.zeros((len(chosen), len(crowded)), np.float32)
        joint[crowded, np.arange(len(crowded))] = 1.0
        several = [self._spoken(self.rng.permutation(row[row >= 0])) for row in chosen[crowded]]
        return picked, several, torch.from_numpy(np.concatenate([right, joint], 1))

    def _spoken(self, concepts: np.ndarray) -> str:
        phrases = [
            self.phrases.texts[self.phrases.sample(concept, self.rng)] for concept in concepts
        ]
        return caption(phrases, self.rng)

    def embedded(self, model: CLIPModel, picked: np.ndarray, several: list[str]) -> torch.Tensor:
        """Unit embeddings of a caption of each phrase, then of the longer captions.

        Apart, because a batch of texts is as long as its longest.
        """
        single = [caption([self.phrases.texts[phrase]], self.rng) for phrase in picked]
        return torch.cat(
            [text_embeddings(model, self.ids(texts)) for texts in (single, several) if texts]
        )

    @torch.no_grad()
    def bank(self, model: CLIPModel) -> torch.Tensor:
        """Every phrase in every template, for a tower at rest: (n_templates, n_phrases, DIM)."""
        return torch.stack(
            [
                text_embeddings(
                    model, self.ids([template.format(text) for text in self.phrases.texts])
                )
                for template in TEMPLATES
            ]
        )


def contrastive_loss(logits: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Cross-entropy both ways: several texts may be right for a scene, and several scenes."""
    smoothed = 0.95 * right / right.sum(1, keepdim=True) + 0.05 / right.shape[1]
    to_text = -(smoothed * logits.log_softmax(1)).sum(1).mean()
    asked = right.sum(0) > 0
    targets = right[:, asked] / right[:, asked].sum(0)
    to_image = -(targets * logits[:, asked].log_softmax(0)).sum(0).mean()
    return 0.6 * to_text + 0.4 * to_image
