"""What a run reads of a table: the columns with petition, place, date and id, and the old encodings that they are in."""

import datetime as dt
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from nlp_service.label_answers import COLUMNS, Item
from nlp_service.label_progress import Progress
from nlp_service.legacy import Encoding, Guess, detect, from_unicode, recover
from nlp_service.pii import mask
from nlp_service.tables import Added, Row, Table, check_output, invalid
from nlp_service.tables.table import as_text
from nlp_service.text import strip_diacritics

TEXT_COLUMNS = (
    *("text", "noi_dung", "noi_dung_don", "noi_dung_don_thu", "noi_dung_phan_anh", "noi_dung_kien_nghi"),
    *("noi_dung_phan_anh_kien_nghi", "noi_dung_y_kien", "petition", "petition_text", "content", "body", "message"),
    *("mo_ta", "y_kien", "phan_anh", "kien_nghi"),
)
PLACE_COLUMNS = (
    ("noi_xay_ra", "noi_xay_ra_vu_viec", "dia_diem", "dia_diem_phan_anh", "dia_ban", "vi_tri", "location", "place"),
    (
        "xa",
        "phuong",
        "xa_phuong",
        "phuong_xa",
        "xa_phuong_thi_tran",
        "phuong_xa_thi_tran",
        "thi_tran",
        "commune",
        "ward",
    ),
    ("dia_chi", "dia_chi_nguoi_gui", "dia_chi_cong_dan", "noi_o", "noi_cu_tru", "thuong_tru", "ho_khau", "address"),
)
"""Names of columns that say where: the matter itself, its commune, the writer's address. The first that a row fills counts."""

DISTRICT_COLUMNS = (
    *("huyen", "quan_huyen", "huyen_thi", "huyen_thi_xa", "quan_huyen_thi_xa", "huyen_thi_thanh_pho", "district"),
    *("huyen_cu",),
)
"""Read together with the column of the commune."""

DATE_COLUMNS = (
    *("ngay_nhan", "ngay_tiep_nhan", "ngay_den", "ngay_gui", "ngay_viet_don", "ngay_don", "ngay", "ngay_thang"),
    *("ngay_phan_anh", "ngay_tao", "thoi_gian", "nam", "received_at", "created_at", "date", "year"),
)
REPEAT_OF = "repeat_of"
"""Added at the end: the number (from 1) of the data row that a row repeats: the same letter, sent again."""

SHOWN = 60
"""Characters of the sample of an old encoding, before and after."""

SAMPLE_ROWS, LEAST_MEAN_LENGTH = 200, 20
"""Without a known name: the column with the longest texts, if they are too long for names of people."""

_YEAR = re.compile(r"(?<!\d)(?:19[5-9]\d|20[0-4]\d)(?!\d)")


@dataclass(frozen=True)
class Columns:
    """Which columns a run is to read, by name: exactly or but for case, diacritics and Unicode form.

    Attributes:
        text: None means find it: a known name, else the column with the longest texts.
        id: how messages name a row.
        places: that together say where; empty means find them by name. The text is read where they say nothing.
        date: that dates a row, for places whose names changed; None means find it by name.
        encoding: of the text column; None means find it in its first cells.
    """

    text: str | None = None
    id: str | None = None
    places: tuple[str, ...] = ()
    date: str | None = None
    encoding: Encoding | None = None


@dataclass(frozen=True)
class Selection:
    """The columns that a run reads.

    Attributes:
        text: empty for a table without columns.
        places: fields that say where, the best first; each the columns that are read together.
        guesses: column -> the old encoding that it is in; columns in Unicode of any form are not in it.
    """

    text: str
    places: tuple[tuple[str, ...], ...] = ()
    date: str | None = None
    id: str | None = None
    guesses: Mapping[str, Guess] = field(default_factory=dict)

    def items(self, table: Table, start: int = 0) -> Iterator[Item]:
        """The rows on their way to the model, from the one numbered `start` (from 0)."""
        only = {self.text, *(name for field in self.places for name in field)}
        only |= {name for name in (self.date, self.id) if name is not None}
        return map(self.item, islice(table.rows(only), start, None))

    def item(self, row: Row) -> Item:
        """One row."""
        cells = row.cells
        fields = (", ".join(filter(None, (self._cell(cells, name) for name in names))) for names in self.places)
        return Item(
            self.unicode(self.text, cells.get(self.text)),
            row.problem,
            self.id_of(row),
            tuple(filter(None, fields)),
            year_of(cells.get(self.date)) if self.date else None,
        )

    @property
    def again(self) -> set[str]:
        """The columns that are read once more when the result is written: what a run keeps holds no petition."""
        return {self.text, *self.guesses, *([self.id] if self.id else [])}

    def id_of(self, row: Row) -> object:
        """How the user calls a row; None if no column was named."""
        return row.cells.get(self.id) if self.id else None

    def turned(self, row: Row) -> list[object]:
        """A row's cells in old encodings, in Unicode; None for what is no text."""
        cells = ((name, row.cells.get(name)) for name in self.guesses)
        return [self.unicode(name, cell) if isinstance(cell, str) else None for name, cell in cells]

    def unicode(self, column: str, cell: object) -> object:
        """A cell as the model reads it."""
        guess = self.guesses.get(column)
        return recover(cell, guess) if guess is not None and isinstance(cell, str) else cell

    def _cell(self, cells: Mapping[str, object], name: str) -> str:
        return as_text(self.unicode(name, cells.get(name))).strip()


def choose(table: Table, output: Path, columns: Columns, progress: Progress) -> tuple[Selection, Added]:
    """Choose the columns, say which, and refuse what cannot be written.

    Returns:
        What is read, and the columns that the run adds, in order.

    Raises:
        PetitionError: INVALID_FILE listing the columns if one is missing or none looks like petitions, or if `output`
            cannot hold the result; MISSING_EXTRA.
    """
    check_output(output, table, COLUMNS | {REPEAT_OF: int})
    for note in table.notes:
        progress.say(note)
    chosen = select(table, columns, progress)
    added = added_columns(table, chosen)
    if chosen.guesses:
        check_output(output, table, added)
    if replaced := [name for name in table.columns if name in added]:
        progress.say(f"Cột có sẵn được thay bằng kết quả mới: {', '.join(replaced)}.")
    return chosen, added


def select(table: Table, columns: Columns, progress: Progress) -> Selection:
    """Choose the columns, and say which. Raises PetitionError INVALID_FILE as `choose` does."""
    known = {_fold(shown): name for name, shown in reversed(_shown(table).items())}
    text_column = _text_column(table, columns.text, known, progress)
    if columns.places:
        fields: tuple[tuple[str, ...], ...] = (tuple(_named(table, name, "--place-column") for name in columns.places),)
    else:
        fields = tuple(_place_fields(known, text_column))
    date_column = (
        _named(table, columns.date, "--date-column")
        if columns.date is not None
        else next((known[name] for name in DATE_COLUMNS if name in known), None)
    )
    id_column = None if columns.id is None else _named(table, columns.id, "--id-column")
    if fields:
        told = "; ".join(" + ".join(f"“{name}”" for name in field) for field in fields)
        progress.say(f"Nơi xảy ra: đọc ở cột {told}, rồi trong nội dung (nếu chưa đúng: --place-column).")
    guesses = _guesses(table, text_column, columns.encoding, progress)
    return Selection(text_column, fields, date_column, id_column, guesses)


def added_columns(table: Table, chosen: Selection) -> Added:
    """The columns that a run adds to a table, in order."""
    added: dict[str, type] = COLUMNS | {REPEAT_OF: int}
    for column, guess in chosen.guesses.items():
        added[unicode_name(column, chosen.text, guess, {*table.columns, *added})] = str
    return added


def year_of(cell: object) -> int | None:
    """The year that a cell names: a date, a year, or the last year in its text ("12/03/2019"); None if there is none."""
    match cell:
        case bool():
            return None
        case dt.date():
            return cell.year
        case int() | float():
            return int(cell) if 1950 <= cell < 2050 and cell == int(cell) else None
        case str():
            years = _YEAR.findall(cell)
            return int(years[-1]) if years else None
    return None


def unicode_name(column: str, text: str, guess: Guess, taken: Collection[str]) -> str:
    """The name of the column that holds `column` in Unicode, which stands after our other columns."""
    if column == text:
        return "text_unicode"
    name = f"{recover(column, guess)}_unicode"
    while name in taken:
        name += "_"
    return name


def _place_fields(known: Mapping[str, str], text: str) -> Iterator[tuple[str, ...]]:
    district = next((known[name] for name in DISTRICT_COLUMNS if name in known), None)
    for number, names in enumerate(PLACE_COLUMNS):
        found = next((known[name] for name in names if name in known and known[name] != text), None)
        if found is not None:
            yield (found, district) if district and number == 1 else (found,)


def _guesses(table: Table, text: str, wanted: Encoding | None, progress: Progress) -> dict[str, Guess]:
    samples: dict[str, list[str]] = {name: [] for name in table.columns}
    for row in islice(table.rows(), SAMPLE_ROWS):
        for name, cell in row.cells.items():
            if isinstance(cell, str) and cell.strip():
                samples[name].append(cell)
    if not samples.get(text):
        # The first petitions may be far down.
        cells = (row.cells.get(text) for row in table.rows({text}))
        samples[text] = list(islice((cell for cell in cells if isinstance(cell, str) and cell.strip()), SAMPLE_ROWS))
    guesses = {}
    for name, sample in samples.items():
        told = Guess.by_a_person(wanted) if wanted is not None and name == text else None
        if told is None and wanted is Encoding.UNICODE:
            continue
        guess = told or detect(sample)
        if set(guess.encodings) <= {Encoding.DECOMPOSED}:
            continue
        guesses[name] = guess
        where = "cột nội dung" if name == text else f"cột “{recover(name, guess)}”"
        progress.say(_told_encoding(where, sample, guess, wanted is not None and name == text))
    return guesses


def _told_encoding(where: str, sample: Sequence[str], guess: Guess, told: bool) -> str:
    likely = sample if guess.example is None else [sample[guess.example]]
    example = next((after for cell in likely if (after := recover(cell, guess)) != cell), None)
    shown = "" if example is None else f"; ví dụ: {_before_and_after(example, guess.encoding)}"
    found = "theo --encoding" if told else f"{guess.share:.0%} số ô, độ tin cậy {guess.confidence:.0%}"
    return f"Bảng mã cũ ở {where}: {guess.encoding} ({found}){shown} (nếu chưa đúng: --encoding)."


def _before_and_after(text: str, encoding: Encoding) -> str:
    # Personal data shows in Unicode only, so what was before is written again from the masked text.
    after = _printable(mask(text))[:SHOWN]
    return f"“{_printable(from_unicode(after, encoding))[:SHOWN]}” → “{after}”"


def _printable(text: str) -> str:
    """On one line, and without controls, which some encodings use for letters and terminals obey."""
    return "".join(character if character.isprintable() else "·" for character in " ".join(text.split()))


def _named(table: Table, wanted: str, option: str) -> str:
    """The column called `wanted`, exactly or but for case, diacritics and Unicode form."""
    if wanted in table.columns:
        return wanted
    alike = [name for name, shown in _shown(table).items() if _fold(shown) == _fold(wanted)]
    if len(alike) == 1:
        return alike[0]
    raise invalid(table.path, f"has no column '{wanted}'; give {option} one of: {', '.join(table.columns)}")


def _shown(table: Table) -> dict[str, str]:
    """Column names, and how they look in the font they were written for."""
    guess = detect([" ".join(table.columns)], fewest_words=1)
    return {name: recover(name, guess) for name in table.columns}


def _fold(name: str) -> str:
    letters = strip_diacritics(name).casefold()
    return "_".join("".join(c if c.isalnum() else " " for c in letters).split())


def _text_column(table: Table, wanted: str | None, known: Mapping[str, str], progress: Progress) -> str:
    if not table.columns:
        return ""
    if wanted is not None:
        return _named(table, wanted, "--text-column")
    chosen = next((known[name] for name in TEXT_COLUMNS if name in known), None) or _longest(table)
    if chosen is None and table.count:
        columns = ", ".join(table.columns)
        raise invalid(table.path, f"has no column that looks like petitions; give --text-column one of: {columns}")
    if chosen is not None:
        progress.say(f"Cột nội dung: “{chosen}” (nếu chưa đúng, chỉ định bằng --text-column).")
    return chosen or ""


def _longest(table: Table) -> str | None:
    candidates = [name for name in table.columns if name not in COLUMNS]
    sample = [row.cells for row in islice(table.rows(), SAMPLE_ROWS)]
    lengths = dict.fromkeys(candidates, 0)
    for cells in sample:
        for name in candidates:
            value = cells.get(name)
            lengths[name] += len(value) if isinstance(value, str) else 0
    best = max(candidates, key=lambda name: lengths[name], default=None)
    if best is None or lengths[best] == 0:
        return None
    return best if len(candidates) == 1 or lengths[best] >= LEAST_MEAN_LENGTH * len(sample) else None
