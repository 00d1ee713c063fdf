"""Work on a Ray cluster, by Ray Data: a function over many values, or values from readers through actors with state.

Values and results travel pickled, one a block, so that Ray never guesses types, joins blocks or splits them. Whatever
a function raises comes back as a value and is raised here: Ray would write it to its logs, and it may quote a petition.
"""

import logging
import os
import pickle
import shutil
import socket
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.tables.table import extra

LOCAL = "local"
"""The address of a cluster that is this machine and lives as long as it is connected."""

OBJECT_STORE_BYTES = 512 << 20
"""Of a local cluster, where Ray would take 30 % of the memory."""

TASK_RETRIES = 3
"""Times that a value is given to another actor when one dies over it: what kills whoever reads it must end the run."""

ACTORS_PER_READER = 16
CONNECT_S = 10

T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")


@contextmanager
def connected(address: str, workers: int = 0) -> Iterator[int]:
    """Connect to a cluster, or start one for LOCAL; yields the number of workers, by default one a CPU of the cluster.

    A process that is connected already stays so, whatever the address.

    Raises:
        PetitionError: MISSING_EXTRA; INVALID_REQUEST if there is no such cluster.
    """
    ray = _ray()
    if ray.is_initialized():
        with _settings():
            yield workers or _cpus()
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    scratch = None
    if address == LOCAL:
        # Short: Ray's sockets are in it, and a socket's path has at most 107 characters.
        scratch = tempfile.mkdtemp(prefix="ray-")
        options |= {
            "num_cpus": workers or len(os.sched_getaffinity(0)),
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
            "_temp_dir": scratch,
        }
    try:
        try:
            _knock(address)
            ray.init(**options)
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            message = f"there is no Ray cluster at '{address}' ({type(error).__name__})"
            advice = "start one by `ray start --head`, or give --address local"
            raise PetitionError(ErrorKind.INVALID_REQUEST, f"{message}; {advice}", address=address) from error
        with _settings():
            yield workers or _cpus()
    finally:
        ray.shutdown()
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)


def each(function: Callable[[T], R], values: Sequence[T]) -> Iterator[R]:
    """The function of every value, a task each, in any order.

    Raises:
        PetitionError: the first that the function raises; CLASSIFICATION_FAILED if the cluster fails.
    """
    if values:
        yield from _results(_dataset(values).map_batches(partial(_called, function), **_ONE))


def through(
    read: Callable[[T], Iterable[S]], values: Sequence[T], actor: Callable[[], Callable[[S], R]], actors: int
) -> Iterator[R]:
    """What the readers make of the values, through the actors, in any order.

    Readers take no CPU of their own, since they idle while all actors are busy.

    Args:
        actor: makes what an actor calls, once in each of them; must not fail.
        actors: each with a CPU.

    Raises:
        PetitionError: as `each`.
    """
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    if not values:
        return
    readers = TaskPoolStrategy(size=-(-actors // ACTORS_PER_READER))
    dataset = _dataset(values).map_batches(partial(_read, read), compute=readers, num_cpus=0, **_ONE)
    # One value waits at each actor while it is at work on another.
    pool = ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2)
    restarts = {"max_restarts": -1, "max_task_retries": TASK_RETRIES}
    with warnings.catch_warnings():
        # Until Ray 2.64 the only way to say so; its own default is to try for ever.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        answered = dataset.map_batches(
            _Actor, fn_constructor_args=(actor,), compute=pool, num_cpus=1, **restarts, **_ONE
        )
    yield from _results(answered)


_ONE = {"batch_size": 1, "batch_format": "pyarrow", "zero_copy_batch": True}


class _Actor:
    def __init__(self, actor: Callable[[], Callable[[Any], Any]]) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._call = actor()

    def __call__(self, batch: Any) -> Any:
        return _called(self._call, batch)


def _called(function: Callable[[Any], Any], batch: Any) -> Any:
    (value,) = _unpacked(batch)
    if isinstance(value, PetitionError):
        return batch
    try:
        return _packed(function(value))
    except Exception as error:
        return _packed(_tellable(error))


def _read(read: Callable[[Any], Iterable[Any]], batch: Any) -> Iterator[Any]:
    (value,) = _unpacked(batch)
    try:
        for made in read(value):
            yield _packed(made)
    except Exception as error:
        yield _packed(_tellable(error))


def _tellable(error: Exception) -> PetitionError:
    if isinstance(error, PetitionError):
        return error
    # The text of an exception may quote a petition: only its type and place are told.
    *_, last = traceback.extract_tb(error.__traceback__)
    where = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
    return PetitionError(ErrorKind.INTERNAL, f"a task failed ({where}); tell the operator")


def _results(dataset: Any) -> Iterator[Any]:
    ray = _ray()
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for value in _unpacked(batch):
                if isinstance(value, PetitionError):
                    raise value
                yield value
    except ray.exceptions.RayError as error:
        raise PetitionError(ErrorKind.CLASSIFICATION_FAILED, _reason(error)) from None


def _reason(error: Exception) -> str:
    if not isinstance(error, _ray().exceptions.RayActorError):
        return f"the Ray cluster failed ({type(error).__name__})"
    if "creation task" in str(error):
        return "an actor could not start: petitions may not be installed, or differ, on a node of the cluster"
    return "an actor died over the same rows again and again, often for want of memory"


def _dataset(values: Sequence[Any]) -> Any:
    import ray.data

    return ray.data.from_arrow([_packed(value) for value in values])


def _packed(value: object) -> Any:
    pa = extra("pyarrow")
    return pa.table({"value": pa.array([pickle.dumps(value, pickle.HIGHEST_PROTOCOL)], pa.large_binary())})


def _unpacked(batch: Any) -> list[Any]:
    # Packed by this program a moment ago.
    return [pickle.loads(cell.as_py()) for cell in batch.column("value")]  # noqa: S301


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        message = "labelling on a cluster needs ray, which is not installed; pip install 'petitions[ray]'"
        raise PetitionError(ErrorKind.MISSING_EXTRA, message, module="ray") from error
    return ray


def _knock(address: str) -> None:
    """Raises OSError if nobody answers at host:port, where Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


def _cpus() -> int:
    return max(1, int(_ray().cluster_resources().get("CPU", 1)))


@contextmanager
def _settings() -> Iterator[None]:
    """A block a value, and silence; whoever else uses Ray Data in this process finds it as it was."""
    from ray.data import DataContext

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # whatever fails is raised
    context = DataContext.get_current()
    ours = {"target_max_block_size": 1, "enable_progress_bars": False, "print_on_execution_start": False}
    before = {name: getattr(context, name) for name in ours}
    try:
        for name, value in ours.items():
            setattr(context, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
