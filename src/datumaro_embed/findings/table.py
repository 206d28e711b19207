"""The findings file: one row for each finding, as CSV for people or Parquet for many rows."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..display import Displayed, Origin
from ..errors import UsageError
from ..escaping import from_sheet_cell
from ..files import FileSystem, check_output, publish, read_errors
from ..listing import write_csv
from ..tally import counted
from .columns import COLUMNS, Finding

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_DELIMITERS = ",;\t"
_NEEDED = ("subset", "id", "object", "label", "box", "action", "content_sha256")
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_OTHER_FORMATS = (".xlsx", ".xls", ".ods", ".json", ".jsonl", ".html", ".htm", ".h5", ".hdf5")
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods; .xls
_MISREAD_BOM = "\u00ef\u00bb\u00bf"  # of UTF-8 that a program read as Latin-1 and saved again


class Findings(Sequence[Finding], Displayed):
    """Rows, sorted by kind, rank, group and item: the same rows give the same file.

    In a notebook, findings that have an `origin` are displayed with pictures of its store.

    Attributes
    ----------
    others : tuple of str
        Columns of the file that findings do not have, and that writing would not keep.
    """

    others: tuple[str, ...] = ()

    def __init__(self, rows: Iterable[Finding] = (), *, origin: Origin | None = None) -> None:
        self._rows = sorted(rows, key=_order)
        self.origin = origin

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Findings) and self._rows == other._rows

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        kinds = dict.fromkeys(row.kind for row in self)
        return f"<Findings: {counted(len(self), 'rows')} of {', '.join(kinds) or 'no kind'}>"

    def filter(self, where: Callable[[Finding], bool] | None = None, **values: Any) -> Findings:
        """Give the rows with these values: ``filter(kind="leak")``, ``filter(lambda row: …)``.

        Raises `UsageError`: no such column.
        """
        if unknown := [name for name in values if name not in COLUMNS]:
            raise UsageError(
                f"Findings have no column {', '.join(unknown)}. Choose one of {', '.join(COLUMNS)}."
            )
        return self._with(
            row
            for row in self
            if (where is None or where(row))
            and all(getattr(row, name) == value for name, value in values.items())
        )

    def accept(self) -> Findings:
        """Copy each suggestion to the action."""
        return self._with(replace(row, action=row.suggestion) for row in self)

    def _with(self, rows: Iterable[Finding]) -> Findings:
        return Findings(rows, origin=self.origin)

    def to_arrow(self) -> pa.Table:
        """Convert to one table."""
        import pyarrow as pa  # only who asks for tables waits for it

        types = dict.fromkeys(COLUMNS, pa.string()) | {"value": pa.float64()}
        types |= dict.fromkeys(("group", "object", "rank"), pa.int64())
        columns = zip(*(row.cells() for row in self), strict=True) if len(self) else [()] * 16
        arrays = {}
        for name, cells in zip(COLUMNS, columns, strict=True):
            values: Iterable[Any] = cells
            if types[name] == pa.string():  # of a lone surrogate, its escape
                values = [text.encode("utf-8", "backslashreplace").decode() for text in cells]
            arrays[name] = pa.array(values).cast(types[name])
        return pa.table(arrays)

    def to_pandas(self) -> pd.DataFrame:
        """Convert to a data frame; an empty number is NaN."""
        return self.to_arrow().to_pandas()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write Parquet if the name ends in ``.parquet``, else CSV; see these.

        Raises `UsageError` too: the name is one of another format (`check_name`).
        """
        self.check_name(path)
        is_parquet = Path(path).suffix.lower() == ".parquet"
        (self.to_parquet if is_parquet else self.to_csv)(path)

    @staticmethod
    def check_name(path: str | os.PathLike[str]) -> None:
        """Refuse a name that says another format than CSV or Parquet; raises `UsageError`."""
        if (suffix := Path(path).suffix.lower()) in _OTHER_FORMATS:
            raise UsageError(
                f"'{path}' ends in {suffix}, and findings are written as CSV or Parquet. Choose a "
                "name that ends in .csv or .parquet."
            )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the file for people; a spreadsheet may open it and save it again.

        Raises `StoreExistsError`, `OutputFolderError`, `StoreWriteError`.
        """
        write_csv(Path(path), COLUMNS, (row.cells() for row in self), for_sheets=True)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the file for programs; raises as `to_csv` does."""
        check_output(Path(path))
        self.replace_parquet(path)

    def replace_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write as `to_parquet` does, over what is there; raises `StoreWriteError`."""
        import pyarrow.parquet as pq

        content = io.BytesIO()
        pq.write_table(self.to_arrow(), content)
        publish(Path(path), [content.getvalue()], content.tell(), FileSystem())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Findings:
        """Read a file: Parquet, or CSV as this package or a spreadsheet writes it.

        Raises `UsageError`, which names the line: no such file, or no table of findings.
        """
        where = Path(path)
        try:
            with read_errors(where):
                data = where.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(f"No findings file at '{where}'. Check the path.") from error
        is_parquet = data[:4] == b"PAR1" or where.suffix.lower() == ".parquet"
        titles, rows = (_parquet_rows if is_parquet else _csv_rows)(data, where)
        found = cls(rows)
        found.others = tuple(title for title in titles if title and title not in COLUMNS)
        return found


def _order(row: Finding) -> tuple[Any, ...]:
    """Sort: what is missing comes last, and no two different rows are equal."""
    numbers = (math.inf if n is None else n for n in (row.rank, row.group))
    rest = tuple("" if cell is None else str(cell) for cell in row.cells())
    number = -1 if row.object is None else row.object
    return row.kind, *numbers, row.subset, row.id, number, *rest


def _parquet_rows(data: bytes, path: Path) -> tuple[list[str], list[Finding]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise UsageError(
            f"'{path}' is not a valid Parquet file ({error}). Write it again."
        ) from error
    _check_columns(table.column_names, path)
    rows = enumerate(table.to_pylist(), start=1)
    found = [_finding(row, f"{path}, row {number}", number) for number, row in rows]
    return table.column_names, found


def _csv_rows(data: bytes, path: Path) -> tuple[list[str], list[Finding]]:
    if data.startswith(_WORKBOOKS):
        raise UsageError(
            f"'{path}' is a workbook (of Excel, or the like), not CSV. Save it as CSV with the "
            "encoding UTF-8 (`CSV UTF-8`)."
        )
    try:
        text = data.decode(_BOMS.get(data[:2], "utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(
            f"'{path}' is not a text file in UTF-8. Give a findings file; in a spreadsheet, save "
            "it as `CSV UTF-8`."
        ) from error
    skipped = 0
    if text[:4].lower() == "sep=":
        _, _, text = text.partition("\n")
        skipped = 1
    header = text.partition("\n")[0]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=header.count), strict=True
    )
    found = []
    try:
        titles = [title.removeprefix(_MISREAD_BOM).strip().lower() for title in next(reader, [])]
        _check_columns(titles, path)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                line = reader.line_num + skipped
                place = f"{path}, line {line}"
                if any(cell.strip() for cell in cells[len(titles) :]):
                    raise UsageError(
                        f"{place}: {len(cells)} cells, and the file has "
                        f"{counted(len(titles), 'columns')}. Quote each cell that "
                        "contains the separator."
                    )
                known = zip(titles, map(from_sheet_cell, cells), strict=False)
                found.append(_finding(dict(known), place, line))
    except csv.Error as error:
        line = reader.line_num + skipped
        raise UsageError(
            f"{path}, line {line}: not valid CSV ({error}). Correct the line."
        ) from error
    return titles, found


def _check_columns(found: Sequence[str], path: Path) -> None:
    if missing := [name for name in _NEEDED if name not in found]:
        raise UsageError(
            f"'{path}' has no column {', '.join(missing)}, so it is not a findings file. A "
            f"findings file has the columns {', '.join(COLUMNS)}."
        )
    if twice := [name for name in COLUMNS if found.count(name) > 1]:
        raise UsageError(
            f"'{path}' has two columns {', '.join(twice)}, so it is not clear which one counts. "
            "Rename or remove one of them."
        )


def _finding(cells: dict[str, Any], where: str, line: int) -> Finding:
    values: dict[str, Any] = {name: cells.get(name) for name in COLUMNS}
    for name in COLUMNS:
        value = values[name]
        if name in ("group", "object", "rank", "value"):
            # Of these only `object` decides what is done; a spreadsheet may write 3.0 or 3,0.
            number = _number(value)
            if name != "value" and number is not None:
                number = int(number) if number == int(number) else None
            if name == "object" and number is None and value not in (None, ""):
                raise UsageError(
                    f"{where}: object {value!r} is not a whole number. Correct the cell."
                )
            values[name] = number
        elif name == "box":
            values[name] = tuple(_number(part) for part in (value or "").split())
            if None in values[name] or len(values[name]) not in (0, 4):
                raise UsageError(f"{where}: box {value!r} is not four numbers: x y w h.")
        else:
            values[name] = value or ""
    return Finding(**values, line=line)


def _number(value: Any) -> float | None:
    try:
        number = float(value.strip().replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
