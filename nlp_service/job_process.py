"""One labelling job in a process of its own, below everything else: segmentation holds the GIL, the service must answer.

The process leads a group that its workers belong to, so that one signal ends them all. It ends with the service, however that ends.
"""

import fcntl
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple

from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.jobs import Options
from nlp_service.label import label_file
from nlp_service.label_answers import Classify
from nlp_service.label_columns import Columns
from nlp_service.legacy import Encoding
from nlp_service.text import MAX_CHARS

NICENESS = 19
"""The least there is: a job takes the time that nobody else wants."""


@dataclass(frozen=True)
class Work:
    """What all jobs of a service are done with, as `label_file` takes it."""

    model: Path
    rules: Path
    runtime: Runtime = Runtime.AUTO
    max_chars: int = MAX_CHARS
    workers: int = 0
    classify: Classify | None = None


class Advanced(NamedTuple):
    """Rows answered, rows in all, rows a second since the run began."""

    done: int
    total: int
    rate: float | None


class Done(NamedTuple):
    """The result is written."""

    rows: int


class Interrupted(NamedTuple):
    """Somebody asked the process to stop."""


Message = Advanced | Done | Interrupted | PetitionError


def start(
    work: Work, input: Path, output: Path, options: Options, names: tuple[str, str]
) -> tuple[SpawnProcess, Connection]:
    """Begin; `names` are the owner's for the two files. The connection gives a `Message` now and then, one that is not `Advanced` at last, or EOFError at a violent end."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with sender:
        process = context.Process(target=_label, args=(work, input, output, options, names, sender), name="label")
        try:
            process.start()
        except BaseException:
            receiver.close()
            raise
    return process, receiver


def end(process: SpawnProcess) -> None:
    """End the process and its workers, at once; what was answered is kept."""
    assert process.pid is not None
    try:
        # Not waited for yet, so the number is still its own.
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it had no time to lead a group
        process.kill()
    process.join()
    process.close()


class _Piped:
    """Progress that goes through the pipe; the sentences for a terminal are left out, since they may quote cells."""

    def __init__(self, sender: Connection) -> None:
        self._sender = sender
        self._began: tuple[float, int] | None = None

    def say(self, message: str) -> None:
        """Nobody hears it."""

    def advance(self, done: int, total: int) -> None:
        """Tell it with the rate."""
        now = time.monotonic()
        began, before = self._began = self._began or (now, done)
        rate = (done - before) / (now - began) if now > began and done > before else None
        self._sender.send(Advanced(done, total, rate))


def _label(work: Work, input: Path, output: Path, options: Options, names: tuple[str, str], sender: Connection) -> None:
    os.setsid()
    # Whoever stops a service may signal its whole tree; `label_file` sets its own handler while there is something to keep.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_service, daemon=True).start()
    os.umask(0o077)
    os.nice(NICENESS)
    sender.send(_outcome(work, input, output, options, names, sender))


def _outcome(
    work: Work, input: Path, output: Path, options: Options, names: tuple[str, str], sender: Connection
) -> Message:
    # One whose runner lost its lease may not have ended yet.
    with (input.parent / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            report = label_file(
                input,
                output,
                model=work.model,
                rules=work.rules,
                runtime=work.runtime,
                sheet=options.sheet,
                columns=Columns(
                    options.text_column,
                    options.id_column,
                    options.place_columns,
                    options.date_column,
                    None if options.encoding is None else Encoding(options.encoding),
                ),
                workers=work.workers,
                max_chars=work.max_chars,
                progress=_Piped(sender),
                classify=work.classify,
                names=names,
            )
        except KeyboardInterrupt:
            return Interrupted()
        except PetitionError as error:
            return error
        except Exception as error:
            # The text of an exception may quote a petition: only its type is told.
            return PetitionError(ErrorKind.INTERNAL, f"unexpected {type(error).__name__}; tell the operator")
    return Done(report.rows)


def _end_with_service() -> None:
    if service := multiprocessing.parent_process():
        service.join()
        os.killpg(0, signal.SIGKILL)
