"""What all formats share: a table of rows, one text form for every value, one error."""

import base64
import datetime as dt
import importlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from nlp_service.errors import ErrorKind, PetitionError

UTF8 = "utf-8-sig"
"""With or without BOM."""

Added = Mapping[str, type]
Values = Iterable[Sequence[Any]]

_NOT_IN_FILES = re.compile("[\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Row:
    """One row: cells by column name, and why it cannot be trusted, if so."""

    cells: dict[str, Any]
    problem: str | None = None


@dataclass(frozen=True)
class Table:
    """A readable file.

    Attributes:
        count: number of rows.
        read: a fresh iteration over the rows, with at least the columns asked for (None: all).
        notes: what was decided while reading, in Vietnamese, for the clerk.
        delimiter: of a CSV, or the one to write.
        schema: the pyarrow schema of a Parquet file.
    """

    path: Path
    columns: tuple[str, ...]
    count: int
    read: Callable[[Collection[str] | None], Iterator[Row]]
    notes: tuple[str, ...] = ()
    delimiter: str = ","
    schema: Any = None

    def rows(self, only: Collection[str] | None = None) -> Iterator[Row]:
        """The rows from the first; may be called again. Raises PetitionError as `open_table` does."""
        return self.read(only)

    def columns_with(self, added: Added) -> list[str]:
        """All columns of the output, each once."""
        return list(dict.fromkeys([*self.columns, *added]))

    def merged(self, added: Added, values: Values) -> Iterator[dict[str, Any]]:
        """The cells of every output row. Raises ValueError if `values` has not one sequence a row."""
        for row, answer in zip(self.rows(), values, strict=True):
            yield row.cells | dict(zip(added, answer, strict=True))


def invalid(path: Path, reason: str) -> PetitionError:
    """The INVALID_FILE error: file and reason in one sentence."""
    return PetitionError(ErrorKind.INVALID_FILE, f"{path} {reason}", file=str(path))


def extra(module: str) -> Any:
    """Import a library that only some formats need. Raises PetitionError MISSING_EXTRA naming how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        message = f"this file format needs {name}, which is not installed; pip install 'petitions[tables]'"
        raise PetitionError(ErrorKind.MISSING_EXTRA, message, module=name) from error


@contextmanager
def reading(path: Path, charset: str = UTF8) -> Iterator[None]:
    """Turns wrong encodings and failing disks into INVALID_FILE."""
    try:
        yield
    except UnicodeDecodeError as error:
        advice = "save the file as UTF-8 ('CSV UTF-8' in Excel's Save As)"
        if charset != UTF8:
            raise invalid(path, f"has bytes that are no {charset} text; {advice}") from error
        raise invalid(path, f"is not UTF-8 text in line {_undecodable_line(path)}; {advice}") from error
    except OSError as error:
        raise invalid(path, f"cannot be read: {error.strerror or error}") from error


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Column names as given; an empty or repeated one gets a name that no other column has.

    Not `name_2`: that is how the second category of a labelled file is called.
    """
    taken, unique = set(names), list[str]()
    for position, name in enumerate(names, 1):
        if not name.strip() or name in unique:
            base = name if name.strip() else f"column_{position}"
            numbered = (f"{base} ({n})" if n > 1 else base for n in count(1))
            name = next(candidate for candidate in numbered if candidate not in taken)
            taken.add(name)
        unique.append(name)
    return tuple(unique)


def as_text(value: object) -> str:
    """A cell as text: itself, ISO dates, JSON for lists and objects, base64 for bytes, nothing for None and NaN."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return str(value).upper()
        case float():
            return "" if math.isnan(value) else repr(value)
        case dt.datetime():
            return value.isoformat(sep=" ")
        case list() | dict() | tuple():
            return json.dumps(jsonable(value), ensure_ascii=False)
    return str(jsonable(value))


def jsonable(value: object) -> object:
    """A value as JSON can hold it; NaN and infinities are null."""
    match value:
        case None | str() | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(key): jsonable(item) for key, item in value.items()}
        case list() | tuple():
            return [jsonable(item) for item in value]
        case dt.date() | dt.time():
            return value.isoformat()
        case Decimal():
            return format(value, "f")
        case bytes():
            return base64.b64encode(value).decode("ascii")
    return str(value)


def clean(text: str) -> str:
    """Without lone surrogates and non-characters, which UTF-8 and XML cannot carry."""
    return _NOT_IN_FILES.sub("\ufffd", text)
