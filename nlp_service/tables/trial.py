"""Reading an old XLS workbook where it can do no harm. Run as a program, this file reads one within limits.

The library follows whatever chain of sectors the file describes. A chain that bites its tail takes memory until allocation fails,
which ends the process and can't be caught; so such a file is first read in a process of its own.
"""

import resource
import subprocess
import sys
from pathlib import Path

MAX_MEMORY = 2 * 1024**3
"""Bytes. The largest sheet of the format, 65,536 rows of 256 columns, with short cells takes half of it."""

MAX_SECONDS = 120
"""Of computing."""


def survives(path: Path) -> bool:
    """Whether a process that reads `path` within the limits lives to its end, with or without an ordinary error."""
    # By its file, not as a module: the package around it takes longer to import than the workbook to read.
    command = [sys.executable, "-P", __file__, str(path)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def _read(path: Path) -> None:
    import python_calamine as calamine

    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with calamine.CalamineWorkbook.from_path(path) as workbook:
            for name in workbook.sheet_names:
                for _ in workbook.get_sheet_by_name(name).iter_rows():
                    pass
    except (calamine.CalamineError, OSError):
        pass  # for the reader to tell


if __name__ == "__main__":
    _read(Path(sys.argv[1]))
