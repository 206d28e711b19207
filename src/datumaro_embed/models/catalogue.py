"""The models that have a short name: where each is published, and what is known of it beforehand.

Public sources of these facts are in docs/models.md. What none of them confirms is in `unconfirmed`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from ..errors import ModelNotFoundError

# Of "a photo of a cat". CLIP: OpenAI's clip/simple_tokenizer.py. SigLIP 2: Gemma's vocabulary.
_CLIP_TOKENS = (49406, 320, 1125, 539, 320, 2368, 49407)
_GEMMA_TOKENS = (235250, 2686, 576, 476, 4401, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A published model.

    Attributes
    ----------
    repo_id : str
        Hub repository of ONNX or OpenVINO graphs, for `pull`; empty if there is none.
    revision : str or None
        The commit to download; None: ``main``.
    folder : str
        Folder of the two ONNX files in the repository.
    checkpoint : str
        Hub repository of the torch weights, for `export-model`.
    licence : str
        License of the weights, as published by their authors; empty: read the model card.
    family : str
        As in `ModelManifest`; empty: read config.json.
    dim, size_px : int
        Length of a vector, and side of the encoder's image; 0: unknown.
    gigabytes : float
        Size of the model directory in float32, calculated from the number of parameters.
    speed : str
        ``"fast"``, ``"medium"``, ``"slow"`` or ``"very slow"``: images per second on a CPU relative
        to CLIP ViT-B/32 (in f32) above 1/2, 1/7, 1/25, or less.
    languages, use : str
        Languages of the texts, and what the model is for, in a few words.
    pad_id : int or None
        Token that pads texts, if the files may name another one.
    tokens : tuple of int
        Token ids of "a photo of a cat", without padding; empty: unknown.
    logit_scale, logit_bias : float or None
        As in `ModelManifest`; ONNX files do not have them.
    knows_cats : bool
        Whether it must tell a photograph of a cat from one of coffee before it is installed.
    proof_texts : tuple of str
        The texts for that in the model's language; empty: English.
    unconfirmed : tuple of str
        What no public source confirmed besides the commit, each a noun phrase.
    unconfirmed_int8 : tuple of str
        The same of its INT8 files.
    """

    repo_id: str = ""
    revision: str | None = None
    folder: str = "onnx"
    checkpoint: str = ""
    licence: str = ""
    family: str = ""
    dim: int = 0
    size_px: int = 0
    gigabytes: float = 0.0
    speed: str = ""
    languages: str = "English"
    use: str = ""
    pad_id: int | None = None
    tokens: tuple[int, ...] = ()
    logit_scale: float | None = None
    logit_bias: float | None = None
    knows_cats: bool = True
    proof_texts: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()
    unconfirmed_int8: tuple[str, ...] = ()

    def open_questions(self, weights: str = "fp32") -> tuple[str, ...]:
        """Return all that is not confirmed before a download of these weights."""
        commit = () if self.revision else ("the commit (the newest one is used)",)
        of_weights = self.unconfirmed_int8 if weights == "int8" else ()
        return (*commit, *self.unconfirmed, *of_weights)


# Source of 100: the CLIP paper (arXiv:2103.00020, section 2.5) clips the scale at 100, and all four
# published models reached it.
_openai = partial(
    CatalogueEntry,
    licence="MIT",
    family="clip",
    tokens=_CLIP_TOKENS,
    logit_scale=100.0,
    logit_bias=0.0,
)
_siglip2 = partial(
    CatalogueEntry,
    licence="Apache-2.0",
    family="siglip",
    languages="109 languages",
    tokens=_GEMMA_TOKENS,
)
# Texts attend in both directions, so their padding matters: OpenCLIP's tokenizer, which the authors
# use, pads with zeros.
_mobileclip = partial(
    CatalogueEntry,
    licence="apple-amlr",
    family="open_clip",
    dim=512,
    size_px=256,
    pad_id=0,
    tokens=_CLIP_TOKENS,
    speed="fast",
    use="small devices; research only",
    unconfirmed=("the content of config.json",),
)
_pe_core = partial(CatalogueEntry, licence="Apache-2.0", family="open_clip", tokens=_CLIP_TOKENS)
_images_only = partial(
    CatalogueEntry,
    licence="Apache-2.0",
    family="image",
    size_px=224,
    languages="no texts",
    use="duplicates, outliers, similar images",
)
_MOBILECLIP2 = ("plhery/mobileclip2-onnx", "ba95759a5bdbaca53e9111e2550a76ec09c8fd9e")

CATALOGUE = {
    "clip-vit-base-patch32": _openai(
        repo_id="Xenova/clip-vit-base-patch32",
        revision="d15189d7028b43f1d3e65039190477f6af591c2a",
        checkpoint="openai/clip-vit-base-patch32",
        dim=512,
        size_px=224,
        gigabytes=0.6,
        speed="fast",
        use="a first run, large datasets",
    ),
    "clip-vit-base-patch16": _openai(
        repo_id="Xenova/clip-vit-base-patch16",
        checkpoint="openai/clip-vit-base-patch16",
        dim=512,
        size_px=224,
        gigabytes=0.6,
        speed="medium",
        use="smaller objects than B/32",
    ),
    "clip-vit-large-patch14": _openai(
        repo_id="Xenova/clip-vit-large-patch14",
        checkpoint="openai/clip-vit-large-patch14",
        dim=768,
        size_px=224,
        gigabytes=1.7,
        speed="slow",
        use="better search",
    ),
    "clip-vit-large-patch14-336": _openai(
        repo_id="Xenova/clip-vit-large-patch14-336",
        checkpoint="openai/clip-vit-large-patch14-336",
        dim=768,
        size_px=336,
        gigabytes=1.7,
        speed="very slow",
        use="small objects, text in images",
    ),
    "siglip-base-patch16-224": CatalogueEntry(
        repo_id="Xenova/siglip-base-patch16-224",
        revision="4649052661e53c7000355844105f8a1792088239",
        checkpoint="google/siglip-base-patch16-224",
        dim=768,
        size_px=224,
        gigabytes=0.8,
        speed="medium",
        use="search and labels",
        licence="Apache-2.0",
        family="siglip",
        unconfirmed=("the tokens of a known text",),
    ),
    "siglip2-base-patch16-224": _siglip2(
        repo_id="onnx-community/siglip2-base-patch16-224-ONNX",
        revision="ba1f3b0843f24bc5417d38e19c37b287d719b2f4",
        checkpoint="google/siglip2-base-patch16-224",
        dim=768,
        size_px=224,
        gigabytes=1.5,
        speed="medium",
        use="search and labels",
    ),
    "siglip2-large-patch16-256": _siglip2(
        repo_id="onnx-community/siglip2-large-patch16-256-ONNX",
        checkpoint="google/siglip2-large-patch16-256",
        dim=1024,
        size_px=256,
        gigabytes=3.5,
        speed="slow",
        use="better search",
    ),
    "siglip2-large-patch16-384": _siglip2(
        repo_id="onnx-community/siglip2-large-patch16-384-ONNX",
        checkpoint="google/siglip2-large-patch16-384",
        dim=1024,
        size_px=384,
        gigabytes=3.5,
        speed="very slow",
        use="small objects, text in images",
    ),
    "siglip2-so400m-patch14-384": _siglip2(
        repo_id="onnx-community/siglip2-so400m-patch14-384-ONNX",
        checkpoint="google/siglip2-so400m-patch14-384",
        dim=1152,
        size_px=384,
        gigabytes=4.5,
        speed="very slow",
        use="the best search here",
    ),
    "clip-vit-base-patch32-xlm-roberta": CatalogueEntry(
        checkpoint="laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
        licence="MIT",
        family="open_clip",
        dim=512,
        size_px=224,
        gigabytes=1.5,
        speed="fast",
        languages="100 languages",
        use="search in many languages, large datasets",
        unconfirmed=("the tokens of a known text",),
    ),
    "chinese-clip-vit-base-patch16": CatalogueEntry(
        repo_id="Xenova/chinese-clip-vit-base-patch16",
        revision="f26904860903e70e050b8f48255e5f48401816e9",
        checkpoint="OFA-Sys/chinese-clip-vit-base-patch16",
        licence="not stated",
        family="chinese_clip",
        dim=512,
        size_px=224,
        gigabytes=0.8,
        speed="medium",
        languages="Chinese",
        use="search in Chinese",
        proof_texts=("一张猫的照片", "一杯咖啡的照片", "一张火箭的照片", "一张汽车的照片"),
        unconfirmed=("the tokens of a known text",),
    ),
    "jina-clip-v1": CatalogueEntry(
        repo_id="jinaai/jina-clip-v1",
        licence="Apache-2.0",
        family="jina_clip",
        dim=768,
        size_px=224,
        gigabytes=0.9,
        speed="medium",
        use="search and labels",
        unconfirmed=("whether OpenVINO can read its graphs", "the tokens of a known text"),
        unconfirmed_int8=("that its INT8 text encoder has the correction that the others got",),
    ),
    "jina-clip-v2": CatalogueEntry(
        repo_id="jinaai/jina-clip-v2",
        licence="CC-BY-NC-4.0",
        family="jina_clip",
        dim=1024,
        size_px=512,
        gigabytes=3.5,
        speed="very slow",
        languages="89 languages",
        use="text in images; not commercial",
        unconfirmed=("whether OpenVINO can read its graph", "the tokens of a known text"),
    ),
    "mobileclip-s0": _mobileclip(
        repo_id="Xenova/mobileclip_s0",
        revision="757d59c9c6870a76a4b0306f05f5061bca15c39f",
        gigabytes=0.2,
    ),
    "mobileclip-s1": _mobileclip(
        repo_id="Xenova/mobileclip_s1",
        revision="48c0a9f89ff272544d1f2595483011a183fd1a52",
        checkpoint="apple/MobileCLIP-S1-OpenCLIP",
        gigabytes=0.3,
    ),
    "mobileclip-s2": _mobileclip(
        repo_id="Xenova/mobileclip_s2",
        checkpoint="apple/MobileCLIP-S2-OpenCLIP",
        gigabytes=0.4,
        speed="medium",
    ),
    "mobileclip2-s0": _mobileclip(
        repo_id=_MOBILECLIP2[0],
        revision=_MOBILECLIP2[1],
        checkpoint="timm/MobileCLIP2-S0-OpenCLIP",
        gigabytes=0.3,
        folder="onnx/s0",
        unconfirmed=("the content of config.json", "the resize filter (bicubic or bilinear)"),
    ),
    "mobileclip2-s2": _mobileclip(
        repo_id=_MOBILECLIP2[0],
        revision=_MOBILECLIP2[1],
        checkpoint="timm/MobileCLIP2-S2-OpenCLIP",
        gigabytes=0.4,
        speed="medium",
        folder="onnx/s2",
        unconfirmed=("the content of config.json", "the resize filter (bicubic or bilinear)"),
    ),
    "pe-core-t-16-384": _pe_core(
        checkpoint="timm/PE-Core-T-16-384",
        dim=512,
        size_px=384,
        gigabytes=0.3,
        speed="fast",
        use="search, with little memory",
    ),
    "pe-core-s-16-384": _pe_core(
        checkpoint="timm/PE-Core-S-16-384",
        dim=512,
        size_px=384,
        gigabytes=0.4,
        speed="medium",
        use="search, with little memory",
    ),
    "pe-core-b-16": _pe_core(
        checkpoint="timm/PE-Core-B-16",
        dim=1024,
        size_px=224,
        gigabytes=1.8,
        speed="medium",
        use="search and labels",
    ),
    "dinov2-small": _images_only(
        repo_id="Xenova/dinov2-small",
        revision="c2bb04a51fab207c420665f1946016107bffc701",
        dim=384,
        gigabytes=0.1,
        speed="fast",
    ),
    "dinov2-base": _images_only(
        repo_id="Xenova/dinov2-base",
        dim=768,
        gigabytes=0.4,
        speed="medium",
    ),
    "dinov2-with-registers-small": _images_only(
        repo_id="onnx-community/dinov2-with-registers-small",
        revision="ec7abea1a8757ec4f9f7b26399d31234ffaa6e6a",
        unconfirmed=("whether OpenVINO can run its interpolation",),
        dim=384,
        gigabytes=0.1,
        speed="fast",
    ),
    "dinov3-vits16": _images_only(
        repo_id="onnx-community/dinov3-vits16-pretrain-lvd1689m-ONNX",
        dim=384,
        gigabytes=0.1,
        speed="fast",
        licence="DINOv3",
    ),
    "dinov3-vitb16": _images_only(
        repo_id="onnx-community/dinov3-vitb16-pretrain-lvd1689m-ONNX",
        dim=768,
        gigabytes=0.3,
        speed="medium",
        licence="DINOv3",
        unconfirmed=("the repository",),
    ),
}


def entry_of(name: str) -> CatalogueEntry:
    """Return the published model of a short name, or one with only the id of a repository.

    Raises ModelNotFoundError for another name, without asking the hub.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if name.count("/") == 1 and name[0] not in "./~" and name[-1] != "/":
        return CatalogueEntry(repo_id=name, knows_cats=False)
    near = nearest(name, CATALOGUE)
    nearby = f" The nearest is {near}." if near else ""
    raise ModelNotFoundError(
        f"{name!r} is not a model that `pull` knows.{nearby} `datumaro-embed models` lists the "
        "names. Use one of them, or the id of a hub repository, OWNER/NAME.",
        name=name,
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like another one; empty if none is."""
    known = list(known)
    near = [one for one in known if name and one.startswith(name.lower())]
    near = near or difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return near[0] if near else ""
