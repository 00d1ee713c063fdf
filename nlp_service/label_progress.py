"""Who watches a labelling run: sentences for the clerk, and a bar on a terminal."""

from typing import Protocol


class Progress(Protocol):
    """Whoever watches a run."""

    def say(self, message: str) -> None:
        """A sentence for the clerk, in Vietnamese."""

    def advance(self, done: int, total: int) -> None:
        """Rows answered so far."""


class Silent:
    """Nobody watches."""

    def say(self, message: str) -> None:
        """Say nothing."""

    def advance(self, done: int, total: int) -> None:
        """Show nothing."""


class TerminalProgress:
    """Sentences on stderr; where that is a terminal, a bar with rows a second and the time left. Use it in a `with` block."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        self._console = Console(stderr=True)
        self._bar = progress.Progress(
            progress.TextColumn("Gán nhãn"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TextColumn("còn"),
            progress.TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            # Chunks take seconds each: a shorter memory would make the time left jump.
            speed_estimate_period=300,
        )
        self._task = self._bar.add_task("", total=None, rate="")

    def __enter__(self) -> "TerminalProgress":
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def say(self, message: str) -> None:
        """Print it as it is; brackets in a column's name are no mark-up."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def advance(self, done: int, total: int) -> None:
        """Move the bar."""
        task = self._bar.tasks[0]
        if task.total is None:
            self._bar.reset(self._task, total=total, completed=done)  # rows of an earlier run are no speed
        speed = task.finished_speed or task.speed
        self._bar.update(self._task, completed=done, total=total, rate=f"{speed:.0f} dòng/giây" if speed else "")
