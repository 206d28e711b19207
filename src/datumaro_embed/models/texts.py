"""From texts to token ids, as the checkpoint's own ``tokenizer.json`` says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ..errors import ModelInvalidError
from .files import read_bytes
from .manifest import TextSpec

__all__ = ["TextTokenizer"]


class TextTokenizer:
    """Tokenizer of a fixed context length; thread-safe once made.

    Parameters
    ----------
    path : Path
        Of ``tokenizer.json``.
    spec : TextSpec
    read : callable
        Gives the file's bytes.

    Raises
    ------
    ModelInvalidError
        The file is not a tokenizer, or has no token of a number that `spec` names.
    """

    def __init__(
        self,
        path: Path,
        spec: TextSpec,
        read: Callable[[Path], npt.NDArray[np.uint8]] = read_bytes,
    ) -> None:
        content = read(path).tobytes()
        try:
            self._tokenizer = Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises bare Exception
            raise ModelInvalidError(
                f"Model file {path} is not a tokenizer: {error}. Make the model directory again.",
                path=path,
            ) from error
        for name in ("pad_id", "eos_id"):
            if self._tokenizer.id_to_token(getattr(spec, name)) is None:
                raise ModelInvalidError(
                    f"Model file {path} has no token of the number {getattr(spec, name)}, which is "
                    f"{name} in model.json. Make the model directory again.",
                    path=path,
                )
        self._spec = spec
        self._tokenizer.enable_truncation(spec.context_length)
        self._tokenizer.enable_padding(length=spec.context_length, pad_id=spec.pad_id)

    def __call__(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Tokenize, cut long texts keeping the end token, pad short ones.

        Parameters
        ----------
        texts : sequence of str
            The empty string is a text too.

        Returns
        -------
        input_ids, attention_mask : arrays of shape (n_texts, context_length), int64
            The mask is 1 where there is a token of the text, 0 where there is padding.
        """
        cleaned = [_encodable(text.lower() if self._spec.lower_case else text) for text in texts]
        rows = self._tokenizer.encode_batch(cleaned)
        shape = (len(rows), self._spec.context_length)
        ids = np.array([row.ids for row in rows], dtype=np.int64).reshape(shape)
        mask = np.array([row.attention_mask for row in rows], dtype=np.int64).reshape(shape)
        return ids, mask


def _encodable(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 text has and the tokenizer would refuse."""
    return text.encode("utf-8", "replace").decode("utf-8")
