"""Put the one-line ``datumaro_embed.pth`` at the root of site-packages in editable installs too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PthInEditableInstalls(BuildHookInterface):
    """A regular wheel takes the file from ``force-include``; hatchling has no such table here."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to the wheel that pip builds for ``pip install -e``."""
        if version == "editable":
            source = Path(self.root, "datumaro_embed.pth")
            build_data["force_include_editable"] = {str(source): source.name}
