"""Who watches a labelling run: sentences for the clerk, and a bar on a terminal."""

from typing import Protocol

ERRORS_TOLD = 10


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


class ErrorsTold:
    """Tells the first rows that could not be read, and once that there are more."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told = 0

    def tell(self, number: int, id: object, error: str, file: str = "") -> None:
        """One row more.

        Args:
            number: of the data row in its file, from 1.
            id: how the user calls it; None if that is not known.
            file: its name, where a run has several.
        """
        self._told += 1
        if self._told <= ERRORS_TOLD:
            where = f"Tệp {file}, d" if file else "D"
            name = "" if id is None else f" (mã {id})"
            self._progress.say(f"{where}òng dữ liệu {number}{name}: {error}")
        elif self._told == ERRORS_TOLD + 1:
            self._progress.say("Còn dòng lỗi khác: xem cột error trong tệp kết quả.")


def told_guarded(cells: int, progress: Progress) -> None:
    """Tell that cells of a CSV were changed, if any was."""
    if cells:
        progress.say(f"{cells} ô trông như công thức được thêm dấu ' ở đầu để Excel không tính chúng.")


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
