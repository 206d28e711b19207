"""What is wrong with a dataset, as findings; where it takes proof, from its images too."""

from .boxes import failures, odd_boxes
from .calibrating import calibrate
from .copies import Copies, CopyGroup, CopyPair, find_copies
from .gates import gates, passing
from .mapping import Map, likely_maps
from .pieces import pieces_beside
from .proof import LONGEST_PX, Proof, prove
from .run import audit, audit_lines
from .zero_shot import label_findings

__all__ = [
    "LONGEST_PX",
    "Copies",
    "CopyGroup",
    "CopyPair",
    "Map",
    "Proof",
    "audit",
    "audit_lines",
    "calibrate",
    "failures",
    "find_copies",
    "gates",
    "label_findings",
    "likely_maps",
    "odd_boxes",
    "passing",
    "pieces_beside",
    "prove",
]
