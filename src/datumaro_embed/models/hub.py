"""Download files of a hub repository with huggingface_hub, and check them by the hub's digests.

``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_TOKEN``, ``HF_HOME`` and the proxy variables work as in
that library. Downloads stay in its cache, so a second download costs nothing.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatumaroEmbedError, ModelDownloadError, ModelNotFoundError
from ..files import link_or_copy, scratch
from .manifest import sha256_file

_MARKERS = {"config.json", "model.json", "open_clip_config.json"}  # each usable repository has one


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository at one commit.

    Attributes
    ----------
    digests : mapping of str to str
        File name → sha256 in hex (64 digits), or the git blob's sha1 (40) of a small file; empty:
        unknown, in a cache without links.
    is_offline : bool
        Only files in the cache are listed, and nothing is downloaded.
    """

    repo_id: str
    commit: str
    digests: Mapping[str, str]
    is_offline: bool = False

    def fetch(self, name: str) -> Path:
        """Download a file, or take it from the cache; if its digest differs, download it again.

        Offline, nothing is removed from the cache.

        Returns
        -------
        Path
            In the library's cache, which has one folder for all files of a repository.
        """
        from huggingface_hub import hf_hub_download

        for again in (False, True):
            with _mapped(self.repo_id, name):
                path = Path(
                    hf_hub_download(self.repo_id, name, revision=self.commit, force_download=again)
                )
            digest = self.digests[name]
            if len(digest) == 40:  # a small file: the hub lists large ones by their sha256
                data = path.read_bytes()
                blob = b"blob %d\0" % len(data) + data
                found = hashlib.sha1(blob, usedforsecurity=False).hexdigest()
            else:
                found = sha256_file(path) if digest else ""
            if found == digest:
                return path
            if self.is_offline:
                raise ModelDownloadError(
                    f"{name} of {self.repo_id} is damaged in the cache, and HF_HUB_OFFLINE forbids "
                    "the download. Unset it.",
                    repo=self.repo_id,
                    name=name,
                )
            for part in (path.resolve(), path):  # remove the damaged blob, and the link to it
                with suppress(OSError):
                    part.unlink()
        raise ModelDownloadError(
            f"{name} of {self.repo_id} arrived damaged twice: its digest differs from the one that "
            "the hub lists. Try again later, or use another HF_ENDPOINT.",
            repo=self.repo_id,
            name=name,
        )

    def fetch_all(self, names: Iterable[str]) -> Path:
        """Download files (see `fetch`) and return the folder to which the names are relative."""
        folders = [self.fetch(name).parents[name.count("/")] for name in names]
        return folders[0]

    @contextmanager
    def real_files(self, names: Collection[str]) -> Iterator[Path]:
        """Download files and yield a folder that holds them as files, not as the cache's links.

        OpenVINO refuses weights that are links out of their folder. Hard links on the cache's file
        system take no space; if it does not support them, files are copied.
        """
        snapshot = self.fetch_all(names)  # REPOSITORY/snapshots/COMMIT
        cache = snapshot.parents[1]
        beside = cache if os.access(cache, os.W_OK) else None  # a cache may be read-only
        with scratch(beside) as folder:
            for name in names:
                link_or_copy(snapshot / name, folder / name)
            yield folder


def open_repo(repo_id: str, revision: str | None) -> HubRepo:
    """List a repository's files at a revision, from the network or, if offline, from the cache.

    Raises `ModelNotFoundError` (no such repository or revision, or no access to it) and
    `ModelDownloadError` (the hub cannot be reached, or offline and not in the cache).
    """
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
    from huggingface_hub.utils import LocalEntryNotFoundError, disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    with _mapped(repo_id, "the list of files"):
        if constants.HF_HUB_OFFLINE:
            try:
                snapshot = Path(snapshot_download(repo_id, revision=revision))
            except LocalEntryNotFoundError as error:
                raise ModelDownloadError(
                    f"{repo_id} is not in the cache, and HF_HUB_OFFLINE forbids the download. "
                    "Unset it, or copy a model directory from a machine that has one.",
                    repo=repo_id,
                ) from error
            cached = {}
            for path in filter(Path.is_file, snapshot.rglob("*")):
                blob = path.resolve().name  # is named by its digest, if the cache has links
                is_digest = re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob) and path.is_symlink()
                cached[path.relative_to(snapshot).as_posix()] = blob if is_digest else ""
            return HubRepo(repo_id, snapshot.name, cached, is_offline=True)
        info = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
        digests = {
            str(file.rfilename): str(file.lfs["sha256"] if file.lfs else file.blob_id)
            for file in info.siblings or ()
        }
        for marker in sorted(_MARKERS & digests.keys())[:1]:  # so that the cache knows `revision`
            hf_hub_download(repo_id, marker, revision=revision)
        return HubRepo(repo_id, str(info.sha), digests)


@contextmanager
def _mapped(repo_id: str, what: str) -> Iterator[None]:
    """Convert the errors of the hub client and its libraries to ours."""
    from huggingface_hub import errors as hub

    chatter = logging.getLogger("huggingface_hub")
    level = chatter.level
    chatter.setLevel(logging.CRITICAL)  # it logs every retry, and the last one as an error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a full disk, and then fails
            yield
    except DatumaroEmbedError:
        raise
    except hub.GatedRepoError as error:
        raise ModelNotFoundError(
            f"Cannot get {repo_id}: its authors require an agreement first. Accept it on the hub, "
            "and set HF_TOKEN.",
            name=repo_id,
        ) from error
    except (hub.RepositoryNotFoundError, hub.RevisionNotFoundError, hub.HFValidationError) as error:
        raise ModelNotFoundError(
            f"Cannot get {repo_id}: the repository or revision does not exist or is private. "
            "Check the name, or set HF_TOKEN.",
            name=repo_id,
        ) from error
    except Exception as error:  # network, disk, or a server that is not a hub
        inner: BaseException = error
        while inner.__cause__ is not None:  # the hub client wraps network errors
            inner = inner.__cause__
        first_line = next(iter(str(inner).strip().splitlines()), "")
        reason = f"{type(inner).__name__}: {first_line}".rstrip(": .")
        raise ModelDownloadError(
            f"Cannot download {what} of {repo_id}: {reason}. Check the connection, the proxy, "
            "HF_ENDPOINT, HF_HOME and free disk space, and run the command again: it resumes the "
            "download.",
            repo=repo_id,
            reason=str(error),
        ) from error
    finally:
        chatter.setLevel(level)
