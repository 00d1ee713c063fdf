"""`petitions-train`'s commands on labelled data: pull, import, suspects, select, remap. Parse, call, print."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlp_service.workdays import VIETNAM

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from training.releases import Period, Release

commands = typer.Typer()

TAXONOMY = Path("datasets/taxonomy.yaml")

TaxonomyFile = Annotated[Path, typer.Option("--taxonomy", help="The taxonomy that the labels are of")]
Beside = Annotated[
    list[Path] | None, typer.Option(help="Data set that this one will be trained with: no story on two sides of them")
]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of receipt, included")]
TestSince = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d"], help="Begin a new test period: new stories received from this day on are tested on"
    ),
]
TestShare = Annotated[float, typer.Option(min=0, max=0.5, help="Of the time, the latest: the first test set")]
TestLeast = Annotated[int, typer.Option(min=0, help="Petitions in the first test set, if half of all are as many")]


@contextmanager
def opened(store: str) -> "Iterator[Engine]":
    """A store, closed afterwards."""
    from nlp_service.store import open_current

    engine = open_current(store)
    try:
        yield engine
    finally:
        engine.dispose()


@commands.command()
def pull(
    store: Annotated[str, typer.Option(help="sqlite:///petitions.db or postgresql://user@host/name")],
    output: Annotated[Path, typer.Option(help="Directory of the releases")],
    since: Day = None,
    until: Day = None,
    restricted: Annotated[bool, typer.Option("--restricted", help="Also what only the leading body may see")] = False,
    beside: Beside = None,
    taxonomy: TaxonomyFile = TAXONOMY,
    test_since: TestSince = None,
    test_share: TestShare = 0.2,
    test_least: TestLeast = 200,
) -> None:
    """Take decided petitions from the store, masked, as a new release; nothing is written where nothing is new."""
    from nlp_service import audit
    from nlp_service.store import snapshot, writing
    from nlp_service.taxonomy import load_taxonomy
    from training.pull import collect, reviewers_key
    from training.releases import publish
    from training.sets import sides_of

    known = load_taxonomy(taxonomy)
    source: dict[str, Any] = {
        "source": "store",
        **({"since": str(since.date())} if since else {}),
        **({"until": str(until.date())} if until else {}),
    }
    with opened(store) as engine:
        with snapshot(engine) as connection:
            pulled = collect(
                connection,
                reviewers_key(output),
                since.date() if since else None,
                until.date() if until else None,
                restricted,
            )
        now = datetime.now(VIETNAM)
        release = publish(
            pulled.examples,
            output,
            now.date(),
            known,
            source | {"left_out": dict(sorted(pulled.left_out.items()))},
            _period(test_since, test_share, test_least),
            sides_of(beside or [], known),
        )
        if release.new:
            payload = {"petitions": len(pulled.examples), "sha256": release.card["sha256"], "restricted": restricted}
            with writing(engine) as connection:
                entry = audit.Entry("cli", "dataset.pull", f"dataset:{release.directory.name}", payload)
                audit.append(connection, now, [entry])
    _echo(release)


@commands.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV, XLSX, JSONL or Parquet with labelled petitions")],
    output: Annotated[Path, typer.Option(help="Directory of the releases")],
    columns: Annotated[
        list[str],
        typer.Option(
            "--map", help="FIELD=COLUMN; text and category at least, urgency, petition_type, id, received_at, annotator"
        ),
    ],
    fill: Annotated[
        list[str] | None, typer.Option(help="FIELD=LABEL for a field without a column, e.g. urgency=normal")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help='TOML: [category] "their name" = "id", and so for the other heads')
    ] = None,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave rows with problems out instead of refusing the file")
    ] = False,
    beside: Beside = None,
    taxonomy: TaxonomyFile = TAXONOMY,
    test_since: TestSince = None,
    test_share: TestShare = 0.2,
    test_least: TestLeast = 200,
) -> None:
    """Take labelled petitions from a table, masked, as a release like those of `pull`; problems are told by row and column."""
    from nlp_service.tables import open_table
    from nlp_service.taxonomy import load_taxonomy
    from training.imports import Mapping, read_table
    from training.releases import publish
    from training.sets import sides_of

    known = load_taxonomy(taxonomy)
    mapping = Mapping.parse(columns, fill or [], labels, known)
    found = read_table(open_table(file), mapping)
    for problem in found.problems:
        typer.echo(f"{'left out' if skip else 'ERROR'}: {problem}", err=True)
    if found.problems and not skip:
        raise typer.Exit(1)
    source = {"source": file.name, "left_out": found.left_out}
    period = _period(test_since, test_share, test_least)
    today = datetime.now(VIETNAM).date()
    _echo(publish(found.examples, output, today, known, source, period, sides_of(beside or [], known)))


@commands.command()
def suspects(
    data: Annotated[Path, typer.Argument(help="Directory with train.jsonl, or one JSONL file")],
    output: Annotated[Path, typer.Option(help="CSV or JSONL of the suspects, the likeliest first")] = Path(
        "suspects.csv"
    ),
    model: Annotated[Path | None, typer.Option(help="Compare by this model's embeddings, not by TF-IDF")] = None,
    head: Annotated[str, typer.Option(help="category, urgency or petition_type")] = "category",
    count: Annotated[int | None, typer.Option(help="So many, whether or not they are likely to be wrong")] = None,
    taxonomy: TaxonomyFile = TAXONOMY,
) -> None:
    """Rank labels that are probably wrong (confident learning), and say which categories annotators over- or under-use."""
    from nlp_service.taxonomy import load_taxonomy
    from training.annotators import usage
    from training.suspects import find_suspects, out_of_sample, read_labelled, write_suspects

    labelled = read_labelled(data, load_taxonomy(taxonomy))
    probabilities = out_of_sample(labelled, head, model)
    ranked = find_suspects(labelled, head, probabilities)
    shown = ranked[:count] if count is not None else [suspect for suspect in ranked if suspect.likely]
    write_suspects(output, shown)
    typer.echo(
        f"{sum(s.likely for s in ranked)} of {len(labelled)} labels are likely to be wrong; {len(shown)} in {output}"
    )
    for row in usage(labelled, head, probabilities):
        typer.echo(row.sentence)


@commands.command()
def select(
    model: Annotated[Path, typer.Option(help="Model directory or pointer file")],
    count: Annotated[int, typer.Option(min=1, help="How many")],
    store: Annotated[str | None, typer.Option(help="Of this store, what nobody has read yet")] = None,
    data: Annotated[Path | None, typer.Option(help="Of this table (--column), or JSONL with id and text")] = None,
    column: Annotated[str, typer.Option(help="Column with the text")] = "text",
    queue: Annotated[
        bool, typer.Option("--queue", help="Put them into the desk's queue, behind what is pressing")
    ] = False,
) -> None:
    """Say which petitions are worth labelling next: those the model doubts, unlike one another. Ids only."""
    from training.selection import candidates_of_store, candidates_of_table, choose, put_in_queue

    if (store is None) == (data is None) or (queue and store is None):
        raise typer.BadParameter("give either --store or --data; --queue needs --store")
    if data is not None:
        from nlp_service.pipeline import PetitionClassifier
        from nlp_service.tables import open_table

        pool = candidates_of_table(open_table(data), column, PetitionClassifier.load(model))
        chosen = choose(pool.candidates, count)
    else:
        from nlp_service.bundle import load_bundle

        with opened(str(store)) as engine:
            pool = candidates_of_store(engine, load_bundle(model).manifest.version)
            chosen = choose(pool.candidates, count)
            if queue:
                put_in_queue(engine, chosen, datetime.now(VIETNAM))
    typer.echo(
        f"{len(chosen)} of {len(pool.candidates)}; {pool.unread} are not read by this model and not among them",
        err=True,
    )
    for identity in chosen:
        typer.echo(pool.names[identity])


@commands.command()
def remap(
    data: Annotated[Path, typer.Argument(help="Directory with train.jsonl, dev.jsonl and test.jsonl")],
    mapping: Annotated[Path, typer.Option(help="TOML of what became of the labels")],
    output: Annotated[Path, typer.Option(help="New directory")],
    taxonomy: TaxonomyFile = TAXONOMY,
) -> None:
    """Give labelled petitions the labels of another taxonomy; what no rule decides is listed for a person in relabel.jsonl."""
    from nlp_service.taxonomy import load_taxonomy
    from training.remap import read_mapping, remap_directory

    counts = remap_directory(data, read_mapping(mapping, load_taxonomy(taxonomy)), output)
    typer.echo(json.dumps(counts))


def _period(since: datetime | None, share: float, least: int) -> "Period":
    from training.releases import Period

    return Period(since.date() if since else None, share, least)


def _echo(release: "Release") -> None:
    counts = ", ".join(f"{side} {part['count']}" for side, part in release.card["petitions"].items())
    typer.echo(f"{'written' if release.new else 'nothing new'}: {release.directory} ({counts})")
