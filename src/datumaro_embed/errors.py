"""Every error that datumaro-embed raises on purpose.

Each carries its facts as attributes, pickles, and ends with the sentence that says what to do next.
A parameter stands between double backticks in the message: Python reads its name (skip_stale), the
command line its flag (--skip-stale).
Where callers would expect a builtin (``FileNotFoundError``, ``ImportError``), the class is one too.

    DatumaroEmbedError
    ├── UsageError (ValueError)               an argument cannot mean anything
    │   ├── OutputFolderError (FileNotFoundError)  the folder of an output does not exist
    │   └── NoTableError (AttributeError)     a store without objects, captions or vectors of labels
    ├── StaleStoreError                       a store of other images than the dataset's
    ├── EmptyDatasetError                     nothing to embed
    ├── DatasetReadError                      Datumaro cannot import the dataset
    ├── DatasetWriteError                     the format asked for cannot hold the dataset
    ├── ItemFailedError                       an item failed, and --on-error fail was asked for
    ├── ModelError
    │   ├── ModelNotFoundError (FileNotFoundError)
    │   ├── ModelInvalidError                 a model directory that is damaged or incomplete
    │   ├── ModelChangedError                 its files are not those that were loaded any more
    │   ├── ModelDownloadError (OSError)      the hub cannot be reached, or sent something else
    │   ├── ModelFidelityError                quantising would lose more than was allowed
    │   └── DeviceNotFoundError               OpenVINO has no such device here
    ├── InferenceError                        OpenVINO failed while running
    ├── StreamDisagreementError               OpenVINO gave two answers to the same batch
    ├── ClusterError (ConnectionError)        no Ray cluster, or its workers die again and again
    ├── RunInterruptedError (KeyboardInterrupt)  stopped by the user, all that was done is kept
    ├── StoreError
    │   ├── StoreNotFoundError (FileNotFoundError)
    │   ├── StoreExistsError (FileExistsError)
    │   ├── StoreWriteError (OSError)         disk full, no permission, …
    │   ├── StoreReadError (OSError)          the system cannot read it now; that is no damage
    │   ├── StoreUnfinishedError              a run has not ended; some rows are missing
    │   ├── StoreReplacedError                another store came to its place while it was open
    │   ├── StoreLockedError                  another process is writing it
    │   ├── StoreCorruptError                 ours, but damaged
    │   ├── StoreForeignError                 not ours, or of a newer format
    │   ├── StoreIndexError                   a search index that is stale or damaged
    │   └── ModelMismatchError                store and encoder are of different models
    ├── ItemNotFoundError (KeyError)          no such (subset, id) in a store
    └── MissingExtraError (ImportError)       an optional dependency is not installed

    EmbedWarning (UserWarning)                a run ended, and not every item has a vector
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from .escaping import printable

__all__ = [
    "ClusterError",
    "DatasetReadError",
    "DatasetWriteError",
    "DatumaroEmbedError",
    "DeviceNotFoundError",
    "EmbedWarning",
    "EmptyDatasetError",
    "InferenceError",
    "ItemFailedError",
    "ItemNotFoundError",
    "MissingExtraError",
    "ModelChangedError",
    "ModelDownloadError",
    "ModelError",
    "ModelFidelityError",
    "ModelInvalidError",
    "ModelMismatchError",
    "ModelNotFoundError",
    "NoTableError",
    "OutputFolderError",
    "RunInterruptedError",
    "StaleStoreError",
    "StoreCorruptError",
    "StoreError",
    "StoreExistsError",
    "StoreForeignError",
    "StoreIndexError",
    "StoreLockedError",
    "StoreNotFoundError",
    "StoreReadError",
    "StoreReplacedError",
    "StoreUnfinishedError",
    "StoreWriteError",
    "StreamDisagreementError",
    "UsageError",
]


_PARAMETER = re.compile("``([a-z_]+)``")


class DatumaroEmbedError(Exception):
    """Root of all errors of this package; ``str(error)`` is one line that says what to do next.

    Attributes
    ----------
    message : str
        The same before parameters are worded and control characters are escaped.
    facts : dict
        What the message is about, by name; each is an attribute too.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        for name, value in facts.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return printable(_PARAMETER.sub(r"\1", self.message))  # ids, labels and paths are data

    def with_flags(self) -> str:
        """Give the message to somebody who types flags: ``skip_stale`` becomes --skip-stale."""
        return printable(_PARAMETER.sub(lambda found: _flag(found[1]), self.message))

    def __reduce__(self) -> tuple[Any, ...]:
        # The builtins among the bases would not pass keyword facts on.
        return partial(type(self), self.message, **self.facts), ()


def _flag(parameter: str) -> str:
    return ("-" if len(parameter) == 1 else "--") + parameter.replace("_", "-")


class EmbedWarning(UserWarning):
    """A run ended well, but items failed; ``str(warning)`` counts them."""


class UsageError(DatumaroEmbedError, ValueError):
    """An argument that cannot mean anything: a wrong flag, size or combination."""


class OutputFolderError(UsageError, FileNotFoundError):
    """The folder of an output does not exist, and nobody asked to make it."""


class NoTableError(UsageError, AttributeError):
    """A store lacks a table, or a table lacks what was asked of it: ``hasattr`` is false."""


class StaleStoreError(DatumaroEmbedError):
    """A store that does not hold the dataset's images as they are now: nothing was done by it.

    Attributes
    ----------
    n_stale : int
        Items that the store does not know, or whose bytes differ.
    """


class EmptyDatasetError(DatumaroEmbedError):
    """The dataset has no items."""


class DatasetReadError(DatumaroEmbedError):
    """Datumaro cannot import the dataset at all."""


class DatasetWriteError(DatumaroEmbedError):
    """The format asked for cannot hold the dataset, or the written one is not the same."""


class ItemFailedError(DatumaroEmbedError):
    """An item failed and the caller asked to stop at the first failure."""


class ModelError(DatumaroEmbedError):
    """Anything about finding or loading a model."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No model of this name or at this path."""


class ModelInvalidError(ModelError):
    """A model directory that is incomplete, damaged or not of a format known here."""


class ModelChangedError(ModelError):
    """Files of a model directory were replaced or changed after they were loaded."""


class ModelDownloadError(ModelError, OSError):
    """A model could not be downloaded, or what came is not what the hub lists."""


class ModelFidelityError(ModelError):
    """A quantised model is further from the full one than was allowed; nothing was written."""


class DeviceNotFoundError(ModelError):
    """OpenVINO has no device of this name on this machine."""


class InferenceError(DatumaroEmbedError):
    """OpenVINO failed while running a model."""


class StreamDisagreementError(DatumaroEmbedError):
    """The same batch gave different vectors: on two streams, or now and at the first time.

    Not an `InferenceError`: which vectors are wrong is not known, so nothing is tried again.

    Attributes
    ----------
    rows : list of int
        Of the batch: those that differ.
    cosine : float
        The lowest between two vectors of a row.
    streams, openvino, device_name, precision
        What they were computed with.
    """


class ClusterError(DatumaroEmbedError, ConnectionError):
    """A Ray cluster cannot be reached, or loses its workers again and again."""


class RunInterruptedError(DatumaroEmbedError, KeyboardInterrupt):
    """The user stopped a run; what was embedded is kept, and the same command goes on.

    Attributes
    ----------
    exit_status : int
        128 plus the number of the signal.
    """


class StoreError(DatumaroEmbedError):
    """Anything about an embedding store."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """No store at this path."""


class StoreExistsError(StoreError, FileExistsError):
    """Something that would be overwritten is in the way."""


class StoreWriteError(StoreError, OSError):
    """The operating system refused a write; what was there before is untouched."""


class StoreReadError(StoreError, OSError):
    """The operating system cannot read a file now, which says nothing about its content."""


class StoreUnfinishedError(StoreError):
    """A store whose run has not ended: rows are missing, and nobody asked to read it so.

    Attributes
    ----------
    exit_status : int
        3, so that a script can tell an unfinished store from a damaged one.
    """

    exit_status = 3


class StoreReplacedError(StoreError):
    """Another store came to the place of one that is open; open it again."""


class StoreLockedError(StoreError):
    """Another process is writing the store; not a byte of it was changed."""


class StoreCorruptError(StoreError):
    """A store of ours that is damaged: refused as a whole, with the place named."""


class StoreForeignError(StoreError):
    """A file that is not an embedding store, or one of a newer format."""


class StoreIndexError(StoreError):
    """A search index that is damaged, or of another store than the one it lies beside."""


class ModelMismatchError(StoreError):
    """The vectors of a store were made by another model than the one in hand."""


class ItemNotFoundError(DatumaroEmbedError, KeyError):
    """No item of this (subset, id) in the store."""


class MissingExtraError(DatumaroEmbedError, ImportError):
    """An optional dependency is missing; the message carries the exact pip command."""
