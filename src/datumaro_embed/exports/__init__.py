"""A store → files that other tools read; each appears whole or not at all."""

from .convert import FORMATS, ConvertSummary, convert_store

__all__ = ["FORMATS", "ConvertSummary", "convert_store"]
