"""The image encoders of the catalogue's models, with random weights: the true width and depth.

They come from transformers, OpenCLIP and timm, which only this module's functions import. Speed
does not depend on the weights, so nothing is downloaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """An image encoder that one or several models of the catalogue have.

    Attributes
    ----------
    side : int
        Of the images, pixels.
    make : callable
        Returns a torch module and a function of it and pixels that gives vectors.
    """

    side: int
    make: Callable[[], tuple[Any, Callable[[Any, Any], Any]]]


def clip(side: int, patch: int, width: int = 768, layers: int = 12, dim: int = 512) -> Architecture:
    """Return CLIP's vision transformer."""

    def make() -> Any:
        import transformers

        config = transformers.CLIPVisionConfig(**_shape(side, patch, width, layers))
        config.projection_dim = dim
        model = transformers.CLIPVisionModelWithProjection(config)
        return model, lambda model, pixels: model(pixel_values=pixels).image_embeds

    return Architecture(side, make)


def siglip(
    side: int, patch: int, width: int = 768, layers: int = 12, heads: int = 0, mlp: int = 0
) -> Architecture:
    """Return SigLIP's vision transformer with its pooling head."""

    def make() -> Any:
        import transformers

        shape = _shape(side, patch, width, layers)
        shape |= {
            "num_attention_heads": heads or width // 64,
            "intermediate_size": mlp or 4 * width,
        }
        model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**shape))
        return model, lambda model, pixels: model(pixel_values=pixels).pooler_output

    return Architecture(side, make)


def dino(kind: str, patch: int, width: int, **settings: int) -> Architecture:
    """Return DINOv2 or DINOv3; the first token is the vector."""

    def make() -> Any:
        import transformers

        shape = _shape(224, patch, width, 12) | settings
        config = getattr(transformers, f"{kind}Config")(**shape)
        model = getattr(transformers, f"{kind}Model")(config)
        return model, lambda model, pixels: model(pixel_values=pixels).last_hidden_state[:, 0]

    return Architecture(224, make)


def open_clip(name: str, side: int) -> Architecture:
    """Return the image tower of OpenCLIP's model; the branches of FastViT are merged."""

    def make() -> Any:
        import open_clip
        from timm.utils import reparameterize_model

        model = open_clip.create_model(name, load_weights=False).visual
        if name.startswith("MobileCLIP"):
            model = reparameterize_model(model.eval())
        return model, lambda model, pixels: model(pixels)

    return Architecture(side, make)


def eva02(name: str, side: int, dim: int) -> Architecture:
    """Return timm's EVA02 for another side of images."""

    def make() -> Any:
        import timm

        model = timm.create_model(name, img_size=side, num_classes=dim)
        return model, lambda model, pixels: model(pixels)

    return Architecture(side, make)


# Names of the catalogue → their image encoder. The first is the one that others are compared with.
ARCHITECTURES: dict[tuple[str, ...], Architecture] = {
    ("clip-vit-base-patch32", "clip-vit-base-patch32-xlm-roberta"): clip(224, 32),
    ("clip-vit-base-patch16", "chinese-clip-vit-base-patch16"): clip(224, 16),
    ("clip-vit-large-patch14",): clip(224, 14, 1024, 24, 768),
    ("clip-vit-large-patch14-336",): clip(336, 14, 1024, 24, 768),
    ("siglip-base-patch16-224", "siglip2-base-patch16-224"): siglip(224, 16),
    ("siglip2-large-patch16-256",): siglip(256, 16, 1024, 24),
    ("siglip2-large-patch16-384",): siglip(384, 16, 1024, 24),
    ("siglip2-so400m-patch14-384",): siglip(384, 14, 1152, 27, 16, 4304),
    ("jina-clip-v1",): eva02("eva02_base_patch16_clip_224", 224, 768),
    ("jina-clip-v2",): eva02("eva02_large_patch14_clip_336", 512, 1024),
    ("mobileclip-s0", "mobileclip2-s0"): open_clip("MobileCLIP2-S0", 256),
    ("mobileclip-s1",): open_clip("MobileCLIP-S1", 256),
    ("mobileclip-s2", "mobileclip2-s2"): open_clip("MobileCLIP2-S2", 256),
    ("pe-core-t-16-384",): open_clip("PE-Core-T-16-384", 384),
    ("pe-core-s-16-384",): open_clip("PE-Core-S-16-384", 384),
    ("pe-core-b-16",): open_clip("PE-Core-B-16", 224),
    ("dinov2-small",): dino("Dinov2", 14, 384),
    ("dinov2-base",): dino("Dinov2", 14, 768),
    ("dinov2-with-registers-small",): dino("Dinov2WithRegisters", 14, 384),
    ("dinov3-vits16",): dino("DINOv3ViT", 16, 384, num_register_tokens=4),
    ("dinov3-vitb16",): dino("DINOv3ViT", 16, 768, num_register_tokens=4),
}


def write_graph(architecture: Architecture, path: Path) -> None:
    """Write an encoder as OpenVINO IR in f32."""
    import openvino as ov
    import torch

    torch.manual_seed(0)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model, run = architecture.make()

        class Encoder(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.model = model.eval()

            def forward(self, pixels: Any) -> Any:
                return run(self.model, pixels)

        side = architecture.side
        graph = ov.convert_model(Encoder(), example_input=torch.zeros(2, 3, side, side))
    graph.input(0).get_tensor().set_names({"pixel_values"})
    graph.reshape({"pixel_values": ov.PartialShape([-1, 3, side, side])})
    ov.save_model(graph, path, compress_to_fp16=False)


def _shape(side: int, patch: int, width: int, layers: int) -> dict[str, int]:
    return {
        "image_size": side,
        "patch_size": patch,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
    }
