"""Give Datumaro the plugins of the ``datumaro.plugins`` entry-point group.

Datumaro ≥ 1.12 reads only its own list of plugins. ``datumaro_embed.pth`` imports this module when
Python starts; it waits for ``datumaro.components.environment`` and then adds the plugins of every
installed package to each ``Environment``. Standard library only, and nothing is imported before
Datumaro itself is: a Python process without Datumaro pays for one entry in ``sys.meta_path``.

An entry point is named after the plugin, ``clip_embed = package.module:Class``, and is a transform;
``exporter.NAME``, ``importer.NAME``, ``generator.NAME`` and ``validator.NAME`` are the other kinds.
``DATUMARO_EMBED_AUTOLOAD=0`` switches it off; ``import datumaro_embed`` then registers.
"""

import os
import sys

TYPE_CHECKING = False  # typing is not worth importing into every Python process
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from importlib.metadata import EntryPoint
    from types import ModuleType
    from typing import Any

_TARGET = "datumaro.components.environment"
_KINDS = {
    "transform": "Transform",
    "exporter": "Exporter",
    "importer": "Importer",
    "generator": "DatasetGenerator",
    "validator": "Validator",
}

_OWN_TRANSFORMS = tuple(
    f"clip_{name}" for name in ("apply", "duplicates", "embed", "label", "search", "select")
)


class _Finder:
    """A meta-path finder that stands aside for every module but one, and for that one only once."""

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> "ModuleSpec | None":
        """Return Datumaro's own spec, its loader told to call `_extend` afterwards."""
        if name != _TARGET:
            return None
        sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: "ModuleType") -> None:
                run(module)
                _extend(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Register with Datumaro: now where it is imported already, else when it is. Idempotent."""
    if _TARGET in sys.modules:
        _extend(sys.modules[_TARGET])
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _extend(module: "ModuleType") -> None:
    """Make every Environment register the entry points right after its built-in plugins."""
    original = getattr(getattr(module, "Environment", None), "_register_builtin_plugins", None)
    if original is None:
        _warn("this Datumaro has no Environment._register_builtin_plugins; nothing was registered")
        return
    if hasattr(original, "datumaro_embed_bridge"):
        return

    def register(self: "Any") -> None:
        original(self)
        known = {*self.transforms, *self.exporters, *self.importers, *self.generators}
        self.register_plugins(_plugins(known | {*self.validators}))

    register.datumaro_embed_bridge = True  # type: ignore[attr-defined]
    module.Environment._register_builtin_plugins = register
    if runs_our_transform(sys.argv):
        from datumaro_embed.logs import each_warning_once_until_exit

        each_warning_once_until_exit()


def runs_our_transform(words: "list[str]") -> bool:
    """Tell `datum transform -t clip_*` from any other process.

    Datumaro reads the dataset, and warns of each of its annotations, before it asks for the
    transform; only the command line tells early enough that the summary would drown.
    """
    names = {word.rpartition("=")[2].removeprefix("-t") for word in words}
    return "transform" in words and not names.isdisjoint(_OWN_TRANSFORMS)


def _plugins(known: "set[str]") -> "list[Any]":
    """Lazy plugins of the group; one that is broken or takes a built-in name is one warning."""
    from importlib.metadata import entry_points

    found = []
    for entry in entry_points(group="datumaro.plugins"):
        try:
            plugin = _lazy_plugin(entry)
        except Exception as error:
            _warn(f"skipped {entry.name} = {entry.value}: {error}")
            continue
        if plugin.NAME in known:
            _warn(f"skipped {entry.name} = {entry.value}: Datumaro has a {plugin.NAME} of its own")
        else:
            found.append(plugin)
    return found


def _lazy_plugin(entry: "EntryPoint") -> "Any":
    """Wrap one entry point; only an importer is imported now (Datumaro asks for its extensions)."""
    from importlib.util import find_spec

    from datumaro.components.lazy_plugin import get_lazy_plugin

    kind, _, name = entry.name.rpartition(".")
    if not entry.attr or (kind or "transform") not in _KINDS:
        raise ValueError(
            f"expected [KIND.]NAME = module:Class with KIND one of {', '.join(_KINDS)}"
        )
    if find_spec(entry.module.partition(".")[0]) is None:
        raise ModuleNotFoundError(f"No module named {entry.module!r}")
    if kind == "importer":
        return entry.load()
    return get_lazy_plugin(f"{entry.module}.{entry.attr}", name, _KINDS[kind or "transform"])


def _warn(message: str) -> None:
    import logging

    logging.getLogger("datumaro_embed").warning("datumaro.plugins entry points: %s", message)


if os.environ.get("DATUMARO_EMBED_AUTOLOAD") != "0":
    install()
