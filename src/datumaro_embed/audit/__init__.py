"""What is wrong with a dataset, from what a store holds and, where it takes proof, its images."""

from .copies import Copies, CopyGroup, CopyPair, find_copies
from .proof import LONGEST_PX, Map, Proof, gates, likely_maps, prove

__all__ = [
    "LONGEST_PX",
    "Copies",
    "CopyGroup",
    "CopyPair",
    "Map",
    "Proof",
    "find_copies",
    "gates",
    "likely_maps",
    "prove",
]
