"""Full-text search: every word of a query is in the text, marks optional. FTS5 on SQLite, a `tsvector` index on PostgreSQL."""

import re

from sqlalchemy import ColumnElement, Connection, String, bindparam, text

from nlp_service.text import fold, normalise

_WORD = re.compile(r"\w+")


def query_words(query: str) -> list[str]:
    """The words to look for, folded as the index folds them; none for a query of signs alone."""
    return _WORD.findall(fold(normalise(query)).replace("_", " "))


def contains(words: list[str], dialect: str) -> ColumnElement[bool]:
    """A condition on `petitions`: all `words` (from `query_words`) are in the text, the last one at least begun."""
    if dialect == "postgresql":
        # The words are letters and digits alone: none of the query language's signs can be among them.
        query = " & ".join([*words[:-1], f"{words[-1]}:*"])
        condition = "to_tsvector('simple', petitions.folded) @@ to_tsquery('simple', :words)"
    else:
        query = " ".join([*(f'"{word}"' for word in words[:-1]), f'"{words[-1]}"*'])
        condition = "petitions.id IN (SELECT rowid FROM petitions_words WHERE petitions_words MATCH :words)"
    result: ColumnElement[bool] = text(condition).bindparams(bindparam("words", query, String()))  # type: ignore[assignment]
    return result


def forget_removed(connection: Connection) -> None:
    """Words of texts that were masked or deleted leave SQLite's index for good; PostgreSQL's vacuum does it by itself."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("INSERT INTO petitions_words (petitions_words) VALUES ('optimize')"))
