"""A config in a TOML file, checked against its dataclass."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

Config = TypeVar("Config")


def read_config(path: Path, kind: type[Config], **changes: Any) -> Config:
    """The config in `path`, with some values changed. Raises ValueError naming the file, the key and what does not fit."""
    try:
        with path.open("rb") as stream:
            return TypeAdapter(kind).validate_python({**tomllib.load(stream), **changes})
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
