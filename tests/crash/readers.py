"""Opens a store again and again while another process writes it: whole stores only."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from datumaro_embed.errors import StoreNotFoundError, StoreReplacedError, StoreUnfinishedError
from datumaro_embed.store import open_store


def read(path: Path, n_opens: int, n_stores: int) -> Counter[str]:
    """Open, look at every row, close; count what came of it, anything unexpected by its name.

    Goes on until it has opened the path often enough and seen enough different stores there.
    """
    found: Counter[str] = Counter()
    seen: set[int | None] = set()
    while found.total() < n_opens or (len(seen) < n_stores and found.total() < 1000 * n_opens):
        try:
            with open_store(path) as store:
                widths = {store.item(row).width for row in range(store.n_rows)}
                found["whole" if len(widths) == 1 else f"mixed: {widths}"] += 1
                seen |= widths
        except StoreNotFoundError:
            found["not there yet"] += 1
        except StoreUnfinishedError:
            found["unfinished"] += 1
        except StoreReplacedError:
            found["replaced while it was read"] += 1
        except BaseException as error:
            found[f"{type(error).__name__}: {error}"] += 1
    return found


if __name__ == "__main__":
    print("reading", flush=True)
    print(dict(read(Path(sys.argv[1]), *map(int, sys.argv[2:]))))
