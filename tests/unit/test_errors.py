"""Every error of the package pickles, is drawn in the module's tree and has one root."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from datumaro_embed import errors

CLASSES = [getattr(errors, name) for name in errors.__all__ if not name.endswith("Warning")]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_error_survives_pickling_with_its_facts(cls: type[errors.DatumaroEmbedError]) -> None:
    error = cls("the store is gone. Make it again.", path="/x", rows=3)

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is cls
    assert str(copy) == "the store is gone. Make it again."
    assert (copy.path, copy.rows) == ("/x", 3)


def test_docstring_draws_every_class_and_only_these() -> None:
    drawn = set(re.findall(r"\b[A-Z]\w+(?:Error|Warning)\b", errors.__doc__ or ""))
    builtins = {
        "AttributeError",
        "ConnectionError",
        "FileNotFoundError",
        "FileExistsError",
        "ImportError",
        "KeyError",
        "ValueError",
        "OSError",
        "UserWarning",
    }
    assert drawn - builtins == set(errors.__all__)


def test_all_is_sorted_complete_and_of_one_root() -> None:
    defined = {
        name
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, Exception)
    }
    assert set(errors.__all__) == defined
    assert errors.__all__ == sorted(errors.__all__)
    assert all(issubclass(cls, errors.DatumaroEmbedError) for cls in CLASSES)
