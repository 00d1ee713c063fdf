"""The state of a labelling run, in `<OUTPUT>.partial/`: what the next run needs to continue after any kind of end.

    run.json        the fingerprint: what is labelled with what
    answers.jsonl   one JSON array a finished row, in row order, synced chunk by chunk; locked while a run writes

No petition text is in it.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from nlp_service.errors import PetitionError
from nlp_service.label_answers import CHUNK, COLUMNS, Answer
from nlp_service.tables import invalid


class State:
    """Answers kept so far.

    Attributes:
        directory: also a place for temporary files beside the output.
        rows: to answer in all.
        done: answered; until `append`, those of an earlier run.
        started_over: an earlier run had another fingerprint.
    """

    def __init__(self, directory: Path, stream: BinaryIO, rows: int) -> None:
        self.directory = directory
        self.rows = rows
        self.done = 0
        self.started_over = False
        self._stream = stream

    def append(self, answers: Sequence[Answer]) -> None:
        """Keep a chunk of answers, on the disk when this returns."""
        self._stream.write(b"".join(json.dumps(answer).encode() + b"\n" for answer in answers))
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.done += len(answers)

    def answers(self) -> Iterator[Answer]:
        """All answers, from the first row."""
        self._stream.seek(0)
        return map(json.loads, self._stream)

    def remove(self) -> None:
        """Forget everything: the output is written."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def recover(self, same: bool) -> None:
        """Keep the whole chunks of an earlier run with the `same` fingerprint and cut off the rest.

        Chunks always have the same rows, so that a resumed run asks the model the very same questions.
        """
        rows = end = position = 0
        self._stream.seek(0)
        for line in self._stream if same else ():
            if rows == self.rows or not _is_answer(line):
                break
            rows, position = rows + 1, position + len(line)
            if rows % CHUNK == 0 or rows == self.rows:
                self.done, end = rows, position
        self.started_over = not same and self._stream.seek(0, os.SEEK_END) > 0
        self._stream.truncate(end)
        os.fsync(self._stream.fileno())


@contextmanager
def open_state(output: Path, fingerprint: Mapping[str, Any], rows: int) -> Iterator[State]:
    """The state of the run that will write `output`; taken away again if not one row was answered.

    Raises:
        PetitionError: INVALID_FILE if the directory cannot be written, holds something else, or another run uses it.
    """
    directory = output.with_name(output.name + ".partial")
    run, answers = directory / "run.json", directory / "answers.jsonl"
    try:
        directory.mkdir(exist_ok=True)
        if not answers.exists() and any(directory.iterdir()):
            raise invalid(directory, "is in the way: it holds something else; move it or choose another output")
        stream = answers.open("a+b")
    except OSError as error:
        raise _unwritable(output, error) from error
    with stream:
        state = State(directory, stream, rows)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = _read(run) == fingerprint
            state.recover(same)
            if not same:
                temporary = run.with_suffix(".tmp")
                temporary.write_text(json.dumps(fingerprint, ensure_ascii=False, indent=1), encoding="utf-8")
                os.replace(temporary, run)
        except BlockingIOError as error:
            raise invalid(output, "is being written by another run; wait, or choose another output") from error
        except OSError as error:
            raise _unwritable(output, error) from error
        try:
            yield state
        finally:
            # Not by `done`: a signal may fall between the write and the count.
            if answers.exists() and answers.stat().st_size == 0:
                state.remove()


def _unwritable(output: Path, error: OSError) -> PetitionError:
    return invalid(output, f"cannot be written: {error.strerror or error}")


def _read(run: Path) -> object:
    try:
        return json.loads(run.read_bytes())
    except (OSError, ValueError):
        return None


def _is_answer(line: bytes) -> bool:
    try:
        values = json.loads(line)
    except ValueError:
        return False
    return line.endswith(b"\n") and isinstance(values, list) and len(values) == len(COLUMNS)
