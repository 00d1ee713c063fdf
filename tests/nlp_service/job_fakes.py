"""Jobs for tests: files to label, what stands in for the model in a job's process, and waiting for what comes of it."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nlp_service.errors import PetitionError
from nlp_service.label import label_file
from nlp_service.pipeline import Classification
from nlp_service.text import check
from tests.nlp_service.offices import POTHOLE, classified

PATIENCE_S = 600
"""A job has the least priority there is: on a busy machine it waits for everybody else."""


def answer(texts: Sequence[object]) -> list[Classification | PetitionError]:
    return [classified(check(text)) for text in texts]


def slowly(texts: Sequence[object]) -> list[Classification | PetitionError]:
    time.sleep(0.7)
    return answer(texts)


def never(texts: Sequence[object]) -> list[Classification | PetitionError]:
    """Answers the first chunk, and then thinks for ever."""
    if not str(texts[0]).endswith(" 0."):
        time.sleep(3600)
    return answer(texts)


def deadly(texts: Sequence[object]) -> list[Classification | PetitionError]:
    """Takes its process along, like a machine without memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def rows(count: int) -> bytes:
    """A CSV."""
    lines = [f"PA-{i},{POTHOLE} Lần {i}." for i in range(count)]
    return "\n".join(["ma_don,noi_dung", *(f'{i},"{t}"' for i, t in (line.split(",", 1) for line in lines))]).encode()


def labelled(directory: Path, data: bytes, ending: str = ".csv") -> bytes:
    """What `petitions label` makes of a file, undisturbed."""
    directory.mkdir()
    source, target = directory / "input.csv", directory / f"output{ending}"
    source.write_bytes(data)
    label_file(source, target, model=Path("none"), workers=1, classify=answer)
    return target.read_bytes()


def rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are taken in, and none is run."""
    monkeypatch.setattr("nlp_service.job_runner.JobRunner.run_next", lambda runner: False)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)


def group(leader: int) -> list[int]:
    """Processes of a group that are not dead."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found
