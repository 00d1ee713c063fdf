"""Small files that others read while they are written."""

from pathlib import Path


def replace_text(file: Path, text: str) -> None:
    """Write `file` beside itself and put it in its place: a reader finds the old content or the new one."""
    scratch = file.with_name(f".{file.name}.tmp")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(file)
