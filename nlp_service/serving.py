"""The model that answers, and how another takes its place while requests come in.

A model and the rules for its labels are one office (office.py), which never changes. A request takes the office once and
keeps it to its end: its petitions go through that office's own queue, are stored by its rules, and name its version. A
switch is therefore one assignment in the event loop; requests under way end where they began.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from nlp_service.bundle import resolve
from nlp_service.canaries import CANARIES_FILE, load_canaries, self_test
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.office import Office
from nlp_service.pipeline import PetitionClassifier
from nlp_service.settings import Settings
from nlp_service.triage import Rules, load_rules

log = logging.getLogger(__name__)

EVERY_S = 2.0
"""Between two looks at the pointer."""

RETRY_AFTER_S = 60.0
"""Before a model that could not be served is tried again: its copy may have been under way."""

GRACE_S = 60.0
"""How long the queue of a model that left memory stays open for requests that began with it."""


@dataclass(frozen=True)
class Model:
    """A loaded model and the rules for its labels."""

    classifier: PetitionClassifier
    rules: Rules


def open_model(path: Path, settings: Settings) -> Model:
    """Verify and load a model with its rules, warm it up, and let it read the canaries.

    Raises:
        PetitionError: INVALID_MODEL (a damaged file, canaries failed), INVALID_RULES (rules for other labels), MISSING_EXTRA.
    """
    try:
        classifier = PetitionClassifier.load(
            path, settings.runtime, settings.threads, settings.max_chars, settings.auto_route
        )
    except PetitionError:
        raise
    except Exception as error:  # a runtime's own kinds, for a network it cannot open
        raise PetitionError(
            ErrorKind.INVALID_MODEL, f"{path} cannot be loaded ({type(error).__name__}); export the model again"
        ) from error
    rules = load_rules(settings.rules, classifier.bundle.taxonomy)
    if problems := self_test(classifier, load_canaries(settings.rules / CANARIES_FILE)):
        version = classifier.bundle.manifest.version
        raise PetitionError(
            ErrorKind.INVALID_MODEL,
            f"{version} fails its self-test: {'; '.join(problems)}; it is not served, train or export it again",
            problems=problems,
        )
    return Model(classifier, rules)


class Serving:
    """Follows the pointer. Everything but loading happens in the event loop.

    Args:
        first: the office at the start, its queue and index running.
        staff: makes an office for a model; called in a thread, starts nothing.
        switched: told of every office that takes over.
        refused: told why the model that the pointer names is not served, and None when that is over.

    Attributes:
        office: answers now.
        before: answered before it, kept in memory so that going back takes no loading.
        problem: why the pointer's model does not answer; None when it does.
    """

    def __init__(
        self,
        settings: Settings,
        first: Office,
        staff: Callable[[Model], Office],
        switched: Callable[[Office], None] = lambda office: None,
        refused: Callable[[str | None], None] = lambda problem: None,
    ) -> None:
        self.office = first
        self.before: Office | None = None
        self.problem: str | None = None
        self._settings = settings
        self._staff = staff
        self._switched = switched
        self._refused = refused
        self._directory = self._begin(first)
        self._retry: tuple[Path, float] | None = None
        self._retired: list[tuple[Office, float]] = []
        self._one_at_a_time = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None

    def start(self, every_s: float = EVERY_S) -> None:
        """Look at the pointer now and then, until `close`; call inside a running event loop."""
        self._following = asyncio.create_task(self._follow(every_s))

    async def close(self) -> None:
        """Stop following; every queue answers what it accepted."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        # A switch that is under way in a thread ends first.
        async with self._one_at_a_time:
            offices = [self.office, *([self.before] if self.before else []), *(office for office, _ in self._retired)]
            for office in offices:
                await office.batcher.close()
            await asyncio.to_thread(_rest, self.office)

    async def look(self, again: bool = False) -> bool:
        """Serve what the pointer names, if it names another model; whether it did.

        Args:
            again: try at once what was refused before, and raise the reason if it is refused again.

        Raises:
            PetitionError: only with `again`.
        """
        async with self._one_at_a_time:
            await self._let_go()
            target: Path | None = None
            try:
                target = (await asyncio.to_thread(resolve, self._settings.model)).resolve()
                if target == self._directory:
                    self._tell(None)
                    return False
                if not again and self._retry and self._retry[0] == target and time.monotonic() < self._retry[1]:
                    return False
                await self._switch(await self._open(target), target)
            except Exception as error:  # whatever it is, the model that answers goes on
                if target is not None:
                    self._retry = (target, time.monotonic() + RETRY_AFTER_S)
                if not isinstance(error, PetitionError):
                    log.exception("a model could not be opened")
                reason = error.message if isinstance(error, PetitionError) else type(error).__name__
                self._tell(f"{reason} ({self.office.version} goes on answering)")
                if again:
                    raise
                return False
            return True

    async def _follow(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
            except Exception as error:
                self._tell(f"the pointer could not be followed ({type(error).__name__}); see the log")
                log.exception("following the model's pointer failed")

    async def _open(self, target: Path) -> Office:
        if self.before is not None and self.before.classifier.bundle.directory.resolve() == target:
            return self.before
        model = await asyncio.to_thread(open_model, target, self._settings)
        version = model.classifier.bundle.manifest.version
        if version == self.office.version:
            raise PetitionError(
                ErrorKind.INVALID_MODEL,
                f"{target} has the version of the model that answers, '{version}'; export it under a version of its own",
            )
        return await asyncio.to_thread(self._staff, model)

    async def _switch(self, office: Office, target: Path) -> None:
        last, dropped = self.office, self.before if self.before is not office else None
        # One index at a time writes its file and follows the store.
        await asyncio.to_thread(_rest, last)
        office.index.start()
        if not office.batcher.alive:
            office.batcher.start()
        self.office, self.before, self._directory, self._retry = office, last, target, None
        if dropped is not None:
            self._retired.append((dropped, time.monotonic() + GRACE_S))
        self._switched(office)
        self._tell(None)
        log.info("model %s answers now, after %s", office.version, last.version)

    async def _let_go(self) -> None:
        now = time.monotonic()
        for office, until in self._retired:
            if until <= now:
                await office.batcher.close()
        self._retired = [(office, until) for office, until in self._retired if until > now]

    def _tell(self, problem: str | None) -> None:
        if problem != self.problem:
            if problem:
                log.error("the pointer's model is not served: %s", problem)
            self.problem = problem
            self._refused(problem)

    def _begin(self, first: Office) -> Path | None:
        """The directory that is served at the start.

        Where the pointer moved between loading and now, that is not the one it names: the first look sees to it. A model
        from elsewhere is the caller's own choice, and stays until the pointer moves.
        """
        directory = first.classifier.bundle.directory.resolve()
        pointer = self._settings.model.resolve()
        if directory.parent == pointer.parent:
            return directory
        try:
            return resolve(pointer).resolve()
        except PetitionError:
            return None


def _rest(office: Office) -> None:
    try:
        office.index.close()
    except (OSError, SQLAlchemyError) as error:  # it could not be kept, and will be built anew
        log.warning("the index of similar petitions was not kept (%s)", type(error).__name__)
