from pathlib import Path
from typing import Any

import pytest
import yaml

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.taxonomy import load_taxonomy

SHIPPED = Path(__file__).resolve().parents[2] / "datasets" / "taxonomy.yaml"


def test_the_shipped_taxonomy() -> None:
    taxonomy = load_taxonomy(SHIPPED)
    assert len(taxonomy.categories) == 21
    assert [level.id for level in taxonomy.urgency_levels] == ["emergency", "urgent", "normal", "low"]
    assert len(taxonomy.petition_types) == 5
    assert len(taxonomy.confusable_pairs) == 10
    assert next(c for c in taxonomy.categories if c.id == "other").review_always
    assert taxonomy.bodies[taxonomy.categories[0].lead] == "Sở Nông nghiệp và Môi trường"


def broken(document: dict[str, Any], change: str) -> None:
    first = document["issue_categories"][0]
    if change == "same id twice":
        document["issue_categories"].append(dict(first))
    elif change == "unknown body 'so_lua'":
        first["lead"] = "so_lua"
    elif change == "unknown default_urgency 'gấp'":
        first["default_urgency"] = "gấp"
    elif change == "'definition'":
        del first["definition"]
    elif change == "unknown category 'roads'":
        document["confusable_pairs"][0] = ["roads", "other"]
    elif change == "must exist":
        document["issue_categories"] = [c for c in document["issue_categories"] if c["id"] != "other"]
        document["confusable_pairs"] = []


@pytest.mark.parametrize(
    "told",
    [
        "same id twice",
        "unknown body 'so_lua'",
        "unknown default_urgency 'gấp'",
        "'definition'",
        "unknown category 'roads'",
        "must exist",
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, told: str) -> None:
    document = yaml.safe_load(SHIPPED.read_bytes())
    broken(document, told)
    path = tmp_path / "taxonomy.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    with pytest.raises(PetitionError, match=told) as caught:
        load_taxonomy(path)
    assert caught.value.kind is ErrorKind.INVALID_TAXONOMY
    assert str(path) in caught.value.message


def test_no_yaml_is_an_invalid_taxonomy(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.yaml"
    path.write_text("a: [1\nb: }", encoding="utf-8")
    with pytest.raises(PetitionError, match="is not a taxonomy"):
        load_taxonomy(path)
