"""Which files a labelling run on a cluster reads and writes."""

import os
from dataclasses import dataclass

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.filesystems import Place, Stored, listed, reaching
from nlp_service.tables.table import extra

ENDINGS = (".csv", ".jsonl", ".parquet", ".xlsx")
FILES = "_files.csv"
"""In an output directory: its files, and the number of the first row of each. Written last: what has it is whole."""


@dataclass(frozen=True)
class Job:
    """One input file.

    Attributes:
        number: among the files of the run, from 0.
        output: what it becomes.
        sheet: of a workbook; None means all that hold the same table.
    """

    number: int
    file: Stored
    output: Place
    sheet: str | None = None


def jobs_of(source: Place, target: Place, sheet: str | None = None) -> list[Job]:
    """What a run has to do: one file into a file if `target` has the ending of a table, else every table into a directory.

    Raises:
        PetitionError: INVALID_FILE if there is no input, or an output would be an input.
    """
    files = listed(source)
    if is_file(target):
        if [file.place.path for file in files] != [source.path]:
            raise _invalid(target, f"is a file name, but the input may be many files ({len(files)}); give a directory")
        if _same(source, target):
            raise _invalid(target, "is the input itself; give another output file")
        return [Job(0, files[0], target, sheet)]
    if f"{target.path}/".startswith(f"{source.path}/"):
        raise _invalid(target, "is inside the input directory; choose an output outside it")
    files = [file for file in files if file.place.suffix.lower() in ENDINGS]
    if not files:
        raise _invalid(source, f"holds no file that ends in {', '.join(ENDINGS)}; check the path")
    jobs = [Job(number, file, target / file.name, sheet) for number, file in enumerate(files)]
    if inputs := {file.place.path for file in files} & {job.output.path for job in jobs}:
        raise _invalid(sorted(inputs)[0], "is an input itself; choose another output directory")
    return jobs


def is_file(target: Place) -> bool:
    """Whether an output so called is one file."""
    return target.suffix.lower() in ENDINGS


def check_free(target: Place, under_way: bool) -> None:
    """Refuse an output that is something else; `under_way`: an interrupted run may have written some of it.

    Raises:
        PetitionError: INVALID_FILE.
    """
    fs = extra("pyarrow.fs")
    with reaching(target):
        found = target.files.get_file_info(target.path).type
        if is_file(target):
            if found == fs.FileType.Directory:
                raise _invalid(target, "is a directory; give a file name")
        elif found == fs.FileType.File:
            raise _invalid(target, f"is a file without an ending; give a directory or one of {', '.join(ENDINGS)}")
        elif found == fs.FileType.Directory and not under_way:
            names = {info.base_name for info in target.files.get_file_info(fs.FileSelector(target.path))}
            if names and FILES not in names:
                raise _invalid(target, "holds something else; choose an empty or a new directory")
    if target.local and not target.local.parent.is_dir():
        raise _invalid(target, "cannot be written: the directory above it does not exist; create it first")


def _same(one: Place, other: Place) -> bool:
    if one.local and other.local and other.local.exists():
        return os.path.samefile(one.local, other.local)
    return one == other


def _invalid(where: object, reason: str) -> PetitionError:
    return PetitionError(ErrorKind.INVALID_FILE, f"{where} {reason}", file=str(where))
