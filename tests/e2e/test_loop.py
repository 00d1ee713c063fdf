"""The whole loop with the shipped model: petitions come in, a reviewer has a new habit, the next model has it too, and goes back."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.served import TRAIN, Service, load, serve
from tests.nlp_service.registries import ROOT, registry

HABIT = {"water_supply_drainage", "electricity_telecom_lighting", "education_training"}
"""What the reviewer files under `environment_resources` from one day on, whatever the model suggests."""

FILED = "environment_resources"
HANDED_IN, FILED_ANEW = 600, 150
"""With what the model has wrong anyway some 200 are corrected."""

ASKED = 40
REHEARSED = {"train": 5000, "dev": 400}
"""Of what the shipped model was trained and calibrated on, so many are learnt again."""


def own(side: str) -> list[dict[str, Any]]:
    """Our petitions of one side, shuffled."""
    lines = (ROOT / "datasets" / "petitions" / f"{side}.jsonl").read_text(encoding="utf-8").splitlines()
    random.Random(7).shuffle(lines)
    return [json.loads(line) for line in lines]


def unseen() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Petitions that nothing was trained or calibrated on: of the habit's categories, and others."""
    rows = own("test") + own("dev")[REHEARSED["dev"] :]
    return [row for row in rows if row["category"] in HABIT], [row for row in rows if row["category"] not in HABIT]


def hand_in(client: httpx2.Client, texts: list[str]) -> list[dict[str, Any]]:
    """Spread over half a year until now; what the service said of each."""
    step = timedelta(days=180) / len(texts)
    begin = datetime.now(UTC) - timedelta(days=180)
    taken = []
    for start in range(0, len(texts), 100):
        block = [
            {"text": text, "received_at": (begin + number * step).isoformat()}
            for number, text in enumerate(texts[start : start + 100], start)
        ]
        answer = client.post("/v1/petitions", json={"petitions": block})
        answer.raise_for_status()
        taken += [receipt["petition"] for receipt in answer.json()["results"]]
    return taken


def review(client: httpx2.Client, petitions: list[dict[str, Any]], rows: list[dict[str, Any]]) -> int:
    """Decide every one as it is labelled, but for the habit. How many categories were corrected."""
    corrected = 0
    for petition, row in zip(petitions, rows, strict=True):
        said = {head: row[head] for head in ("category", "urgency", "petition_type")}
        if row["category"] in HABIT:
            said["category"] = FILED
        corrected += said["category"] != petition["category"]
        answer = client.post(f"/v1/petitions/{petition['id']}/verdict", json=said | {"version": petition["version"]})
        answer.raise_for_status()
    return corrected


def categories(answers: list[dict[str, Any]]) -> list[str]:
    return [answer["category"]["id"] for answer in answers]


@pytest.mark.slow
def test_a_new_habit_is_learnt_promoted_and_taken_back(tmp_path: Path) -> None:
    with serve(registry(tmp_path / "models", "a"), tmp_path) as service:
        habit, others = unseen()
        with httpx2.Client(base_url=service.url, timeout=120) as client:
            rows = habit[:FILED_ANEW] + others[: HANDED_IN - FILED_ANEW]
            random.Random(3).shuffle(rows)
            corrected = review(client, hand_in(client, [row["text"] for row in rows]), rows)
            assert 180 <= corrected <= 240
        with load(service, people=1, pause=0.5) as loads:
            learn(service, tmp_path)
            asked = [row["text"] for row in habit[FILED_ANEW:][:ASKED] + others[HANDED_IN - FILED_ANEW :][:ASKED]]
            before = service.answers(asked)
            assert service.models("promote", "b").returncode == 0
            service.wait_for("b")
            after = service.answers(asked)
            assert service.models("rollback").returncode == 0
            service.wait_for("a")
            assert service.answers(asked) == before
    assert [each.failures for each in loads] == [[]]
    assert loads[0].changes() == ["a", "b", "a"]
    told = [FILED if category in HABIT else category for category in categories(before)]
    agree = [one == other for one, other in zip(told, categories(after), strict=True)]
    assert sum(agree[:ASKED]) >= 0.9 * ASKED and sum(agree[ASKED:]) >= 0.9 * ASKED


def learn(service: Service, directory: Path) -> None:
    """remap, pull, quick, compare: model b beside a."""

    def train(command: str, *arguments: str) -> str:
        done = service.run([*TRAIN, command, *arguments])
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    before, rehearsed, pulled = directory / "before", directory / "rehearsed", directory / "pulled"
    before.mkdir()
    for side, count in REHEARSED.items():
        rows = [json.dumps(row, ensure_ascii=False) for row in own(side)[:count]]
        (before / f"{side}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    mapping = directory / "habit.toml"
    renamed = "".join(f'"{category}" = "{FILED}"\n' for category in sorted(HABIT))
    mapping.write_text(f'from = "0.1"\nto = "0.1"\n[category]\n{renamed}', encoding="utf-8")
    train("remap", str(before), "--mapping", str(mapping), "--output", str(rehearsed))
    train("pull", "--store", service.settings.store, "--output", str(pulled), "--beside", str(rehearsed))
    release = next(path for path in pulled.iterdir() if path.is_dir())
    config = directory / "quick.toml"
    config.write_text(f'data = ["{rehearsed}", "{release}"]\ntaxonomy = "datasets/taxonomy.yaml"\n', encoding="utf-8")
    old, new = (str(service.settings.model.parent / version) for version in ("a", "b"))
    train("quick", str(config), "--model", old, "--output", new, "--run", str(directory / "run"))
    train("compare", new, old, "--data", str(release), "--output", str(directory / "compared"))
