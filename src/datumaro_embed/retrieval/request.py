"""From the flags of a search, as `flags.queries` describes them, to queries and options."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from ..records import ItemKey
from .filters import Filters
from .query import QueryInput
from .searching import SearchOptions

__all__ = ["search_request"]


def search_request(
    queries: list[str],
    *,
    image: list[str],
    item: list[str],
    minus: list[str],
    not_image: list[str],
    not_item: list[str],
    k: int,
    subset: list[str],
    split: list[str],
    label: list[str],
    model: str | None,
    exact: bool,
) -> tuple[list[QueryInput], SearchOptions]:
    """Read the flags of `flags.add_search_arguments`.

    Raises
    ------
    UsageError
        No query, an empty one, a k below 1, or an item that is not SUBSET/ID.
    """
    plus: list[QueryInput] = [*queries, *map(Path, image), *map(_item_key, item)]
    if not plus:
        raise UsageError("There is no query. Give a text, --image FILE or --item SUBSET/ID.")
    if any(isinstance(query, str) and not query.strip() for query in [*queries, *minus]):
        raise UsageError("A query is empty. Type what to search for.")
    options = SearchOptions(
        k=k,
        minus=(*minus, *map(Path, not_image), *map(_item_key, not_item)),
        filters=Filters(tuple(subset), tuple(split), tuple(label)),
        model=model,
        exact=exact,
    )
    return plus, options


def _item_key(text: str) -> ItemKey:
    try:
        return ItemKey.parse(text)
    except ValueError as error:
        raise UsageError(f"'{text}' names no item. Write SUBSET/ID, as train/000001.") from error
