"""Embed the shards of a dataset on a Ray cluster (extra ``ray``), and join them."""

from __future__ import annotations

from .on_ray import embed_on_ray

__all__ = ["embed_on_ray"]
