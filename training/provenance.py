"""Where a model comes from: its petitions, the code that made it, the run. Noted while it is made; nothing is guessed later."""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nlp_service import __version__
from nlp_service.bundle import Code, Provenance, Run
from training.data import Petition, digest, read_origins
from training.datacard import period
from training.sets import directories

PROGRAM = Path(__file__).resolve().parents[1]
PACKAGES = ("nlp_service", "training")
STARTED_FILE = "started"


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def petitions_used(data: str | list[str], sides: Mapping[str, Sequence[Petition]]) -> dict[str, dict[str, Any]]:
    """`Manifest.trained_on` of a run whose config says `data`; `sides` is what `training.sets.read_sets` read of it."""
    return {
        side: side_used([path / f"{side}.jsonl" for path in directories(data)], sides[side])
        for side in ("train", "dev")
    }


def side_used(files: Sequence[Path], petitions: Sequence[Petition]) -> dict[str, Any]:
    """One side of it.

    Args:
        petitions: all that stand in `files`.

    Returns:
        `count`, `sha256`; `real`, how many were pulled from a desk or imported; `sets`, a release's name (which ends in the
        hash of its content) or the directory's; `period`, first and last day of receipt, only where rows are dated.
    """
    parts = [read_origins(file) for file in files]
    origins = [origin for part in parts for origin in part]
    days = period(origins)
    return {
        "count": len(petitions),
        "sha256": digest(petitions),
        "real": sum("source" in origin for origin in origins),
        "sets": [
            {"name": file.resolve().parent.name, "count": len(part)} for file, part in zip(files, parts, strict=True)
        ],
        **({"period": days} if days else {}),
    }


def code(program: Path = PROGRAM) -> Code:
    """What runs: the package's version, and the commit if `program` is a git work tree that has these packages.

    An installed copy inside somebody's work tree (a virtual environment) is not that work tree's code.
    """
    if _git(program, "ls-files", "--error-unmatch", *(f"{package}/__init__.py" for package in PACKAGES)) is None:
        return Code(version=__version__)
    commit = _git(program, "rev-parse", "HEAD")
    changes = _git(program, "status", "--porcelain", "--untracked-files=all", "--", *PACKAGES)
    return Code(version=__version__, commit=commit, changed=None if changes is None else bool(changes))


def started(run: Path) -> str:
    """When the run first began: kept in the directory, since a killed run goes on later."""
    file = run / STARTED_FILE
    if not file.exists():
        file.write_text(now() + "\n", encoding="utf-8")
    return file.read_text(encoding="utf-8").strip()


def config_sha256(config: Mapping[str, Any]) -> str:
    """Of the values by name, as JSON with sorted keys: comments and order in the TOML do not count."""
    return hashlib.sha256(json.dumps(config, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def of_fit(summary: Mapping[str, Any]) -> Provenance:
    """Of a run.json; one of before this was noted has neither code nor times."""
    config, noted = summary["config"], summary.get("code")
    return Provenance(
        code=Code.model_validate(noted) if noted else None,
        run=Run(
            command="fit",
            config_sha256=config_sha256(config),
            seed=config["seed"],
            encoder=config["encoder"],
            started=summary.get("started"),
            ended=summary.get("ended"),
        ),
    )


def of_quick(config: Mapping[str, Any], kept: str, started: str) -> Provenance:
    """Of a quick run that ends now.

    Args:
        kept: version of the model whose encoder was kept.
    """
    run = Run(
        command="quick",
        config_sha256=config_sha256(config),
        seed=config["seed"],
        encoder=kept,
        started=started,
        ended=now(),
    )
    return Provenance(code=code(), run=run)


def of_calibration(before: Provenance | None, version: str) -> Provenance:
    """Of the weights of `version`, with its provenance, calibrated anew by this program."""
    return Provenance(code=code(), run=before.run if before else None, recalibrated_from=version)


def _git(directory: Path, *arguments: str) -> str | None:
    """What git says, or None: no git, no work tree, an untracked file."""
    # GIT_DIR and its like, set in a hook, would speak of another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(directory), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
