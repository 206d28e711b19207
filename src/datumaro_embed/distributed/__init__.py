"""The shards of a dataset on the nodes of a Ray cluster (extra ``ray``), joined at the end."""

from __future__ import annotations

from .on_ray import embed_on_ray

__all__ = ["embed_on_ray"]
