"""Every error that datumaro-embed raises on purpose.

Each carries its facts as attributes, can be pickled, and ends with a sentence that says what to do
next. A message puts parameters between double backticks: Python shows the name (skip_stale), the
command line the flag (--skip-stale).
A class also inherits the builtin that callers expect (``FileNotFoundError``, ``ImportError``).

    DatumaroEmbedError
    ├── UsageError (ValueError)               an argument is invalid
    │   ├── OutputFolderError (FileNotFoundError)  the folder of an output does not exist
    │   └── NoTableError (AttributeError)     a store without objects or captions
    ├── StaleStoreError                       the dataset's images are not those in the store
    ├── EmptyDatasetError                     nothing to embed
    ├── DatasetReadError                      Datumaro cannot import the dataset
    ├── DatasetWriteError                     the output format cannot hold the dataset
    ├── ItemFailedError                       an item failed, with --on-error fail
    ├── ModelError
    │   ├── ModelNotFoundError (FileNotFoundError)
    │   ├── ModelInvalidError                 a model directory that is damaged or incomplete
    │   ├── ModelChangedError                 its files changed after they were loaded
    │   ├── ModelDownloadError (OSError)      the hub cannot be reached, or sent something else
    │   ├── ModelFidelityError                quantization would lose more than allowed
    │   ├── CalibrationError                  no threshold tells copies from different images
    │   └── DeviceNotFoundError               OpenVINO has no such device on this machine
    ├── InferenceError                        OpenVINO failed while running
    ├── StreamDisagreementError               OpenVINO gave two answers to the same batch
    ├── ClusterError (ConnectionError)        no Ray cluster, or its workers die repeatedly
    ├── RunInterruptedError (KeyboardInterrupt)  stopped by the user; finished work is kept
    ├── StoreError
    │   ├── StoreNotFoundError (FileNotFoundError)
    │   ├── StoreExistsError (FileExistsError)
    │   ├── StoreWriteError (OSError)         disk full, no permission, …
    │   ├── StoreReadError (OSError)          the system cannot read it now; it may be intact
    │   ├── StoreUnfinishedError              a run has not ended; some rows are missing
    │   ├── StoreReplacedError                another store replaced it while it was open
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
    "CalibrationError",
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
        The raw text: parameters between double backticks, control characters not escaped.
    facts : dict
        Values behind the message, by name; each is an attribute too.
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
        """Return the message for the command line: ``skip_stale`` becomes --skip-stale."""
        text = re.sub("``([a-z])``", r"-\1", self.message)
        text = _PARAMETER.sub(lambda found: "--" + found[1].replace("_", "-"), text)
        return printable(text)

    def __reduce__(self) -> tuple[Any, ...]:
        # Builtin base classes would drop the keyword facts.
        return partial(type(self), self.message, **self.facts), ()


class EmbedWarning(UserWarning):
    """A run finished, but items failed; ``str(warning)`` gives their number."""


class UsageError(DatumaroEmbedError, ValueError):
    """An argument is invalid: a wrong flag, size or combination."""


class OutputFolderError(UsageError, FileNotFoundError):
    """The folder of an output does not exist."""


class NoTableError(UsageError, AttributeError):
    """A store lacks a table; ``hasattr(store, "objects")`` then returns False."""


class StaleStoreError(DatumaroEmbedError):
    """A store does not match the dataset's current images; nothing was written.

    Attributes
    ----------
    n_stale : int
        Number of items that are not in the store or whose bytes differ.
    """


class EmptyDatasetError(DatumaroEmbedError):
    """The dataset has no items."""


class DatasetReadError(DatumaroEmbedError):
    """Datumaro cannot import the dataset at all."""


class DatasetWriteError(DatumaroEmbedError):
    """The output format cannot hold the dataset, or the written dataset differs from it."""


class ItemFailedError(DatumaroEmbedError):
    """An item failed and the caller asked to stop at the first failure."""


class ModelError(DatumaroEmbedError):
    """Anything about finding or loading a model."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No model of this name or at this path."""


class ModelInvalidError(ModelError):
    """A model directory is incomplete, damaged or in an unknown format."""


class ModelChangedError(ModelError):
    """Files of a model directory were replaced or changed after they were loaded."""


class ModelDownloadError(ModelError, OSError):
    """A model could not be downloaded, or the download differs from what the hub lists."""


class ModelFidelityError(ModelError):
    """A quantized model is less accurate than allowed; nothing was written."""


class CalibrationError(ModelError):
    """No threshold tells copies from different images; nothing was written."""


class DeviceNotFoundError(ModelError):
    """OpenVINO has no device of this name on this machine."""


class InferenceError(DatumaroEmbedError):
    """OpenVINO failed while running a model."""


class StreamDisagreementError(DatumaroEmbedError):
    """The same batch gave different vectors: on two streams, or at two times.

    Not an `InferenceError`, which is retried: nobody knows which of the vectors are wrong.

    Attributes
    ----------
    rows : list of int
        Rows of the batch that differ.
    cosine : float
        Lowest cosine similarity between the two vectors of a row.
    streams, openvino, device_name, precision
        Settings and versions of the inference.
    """


class ClusterError(DatumaroEmbedError, ConnectionError):
    """A Ray cluster cannot be reached, or loses its workers repeatedly."""


class RunInterruptedError(DatumaroEmbedError, KeyboardInterrupt):
    """The user stopped a run; finished rows are kept, and the same command continues it.

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
    """The output exists already."""


class StoreWriteError(StoreError, OSError):
    """The operating system refused a write; the existing files are unchanged."""


class StoreReadError(StoreError, OSError):
    """The operating system cannot read a file now; the file may be intact."""


class StoreUnfinishedError(StoreError):
    """The run that writes a store has not ended, so rows are missing.

    Attributes
    ----------
    exit_status : int
        3, so that a script can tell an unfinished store from a damaged one.
    """

    exit_status = 3


class StoreReplacedError(StoreError):
    """Another store replaced an open one; open it again."""


class StoreLockedError(StoreError):
    """Another process is writing the store; nothing was changed."""


class StoreCorruptError(StoreError):
    """A datumaro-embed store is damaged; the message names the place, and no row is read."""


class StoreForeignError(StoreError):
    """A file is not an embedding store, or is one of a newer format."""


class StoreIndexError(StoreError):
    """A search index is damaged, or was built from another store."""


class ModelMismatchError(StoreError):
    """The vectors of a store come from another model than the given one."""


class ItemNotFoundError(DatumaroEmbedError, KeyError):
    """No item of this (subset, id) in the store."""


class MissingExtraError(DatumaroEmbedError, ImportError):
    """An optional dependency is missing; the message gives the exact pip command."""
