import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nlp_service.bundle import MANIFEST, Bundle, Code, Manifest, Provenance, load_bundle
from nlp_service.bundle import Run as MadeBy
from nlp_service.models import Gates, read_gates
from nlp_service.pipeline import PetitionClassifier
from tests.training.conftest import ROOT, make_petitions
from training.card import ENGLISH_CARD, VIETNAMESE_CARD, cards
from training.card_files import BEGIN, END, record_data, record_scores, write_cards, write_technical_file
from training.data import digest
from training.evaluate import evaluate
from training.score_table import summary_table, summary_table_vi

SHIPPED = ROOT / "models" / "current"


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return load_bundle(SHIPPED)


@pytest.fixture(scope="module")
def reports(classifier: PetitionClassifier) -> dict[str, dict[str, Any]]:
    """Two sets; the second holds no emergency, so one of its rates has no cases."""
    calm = [petition for petition in make_petitions(14) if petition.urgency != "emergency"]
    return {"own test": evaluate(classifier, make_petitions(18)), "real, ordinary": evaluate(classifier, calm)}


def _cards(bundle: Bundle, gates: Gates | None = None, **changes: Any) -> tuple[str, str]:
    made = cards(bundle.manifest.model_copy(update=changes), bundle.taxonomy, gates)
    return made[ENGLISH_CARD], made[VIETNAMESE_CARD]


def _section(card: str, title: str) -> str:
    return card.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def _numbers(card: str) -> Counter[str]:
    """Digits as written in either language: 1,052 and 1.052, 0.85 and 0,85, 2026-11-28 and 28/11/2026."""
    written = re.sub(r"(?<=\d)[.,](?=\d)|[Tt]op-\d|F1", "", card)
    return Counter(re.findall(r"\d+", written))


def _of_100(rate: dict[str, Any], to: str) -> str:
    low, high = rate["interval"]
    return f"**{100 * rate['value']:.0f}** ({rate['hits']}/{rate['count']}; {100 * low:.0f} {to} {100 * high:.0f})"


def test_figures_of_the_shipped_cards_are_those_of_its_manifest(shipped: Bundle) -> None:
    scores = shipped.manifest.scores
    told = dict(zip((ENGLISH_CARD, VIETNAMESE_CARD), _cards(shipped), strict=True))
    for card, to in zip(told.values(), ("to", "đến"), strict=True):
        for name, path in (
            ("real, ordinary", ("category", "top1")),
            ("real, ordinary", ("category", "top3")),
            ("real, ordinary", ("zones", "auto", "top1")),
            ("real, ordinary", ("variants", "typing_slips")),
            ("real, rescue appeals", ("emergency", "recall")),
            ("own test", ("emergency", "recall")),
        ):
            rate: Any = scores[name]
            for key in path:
                rate = rate[key]
            assert _of_100(rate, to) in card, (name, path)
        for file, digest_ in shipped.manifest.files.items():
            assert f"| {file} | `{digest_}` |" in card
    names = {category.id: category.name for category in shipped.taxonomy.categories}
    assert summary_table(scores) in told[ENGLISH_CARD]
    assert summary_table_vi(scores, names) in told[VIETNAMESE_CARD]


def test_shipped_cards_are_what_the_program_writes(shipped: Bundle) -> None:
    for name, text in cards(shipped.manifest, shipped.taxonomy, read_gates(shipped.directory)).items():
        assert (shipped.directory / name).read_text(encoding="utf-8") == text, f"petitions-train card {SHIPPED}"


def test_both_languages_have_the_same_figures(shipped: Bundle) -> None:
    english, vietnamese = _cards(shipped)
    assert _numbers(english) == _numbers(vietnamese)
    assert english.count("\n## ") == vietnamese.count("\n## ") and english.count("\n") == vietnamese.count("\n")


def test_categories_have_their_vietnamese_names(shipped: Bundle) -> None:
    vietnamese = _cards(shipped)[1]
    for category in shipped.taxonomy.categories:
        assert f"`{category.id}`" not in vietnamese and f" {category.id} " not in vietnamese
    assert "Khác / chưa xác định" in _section(vietnamese, "Yếu ở đâu")


def test_weak_spots_are_the_worst_of_the_manifest(shipped: Bundle) -> None:
    classes = shipped.manifest.scores["own test"]["category"]["classes"]
    worst = min(
        (label for label, row in classes.items() if row["count"] >= 20), key=lambda label: classes[label]["recall"]
    )
    weak = _section(_cards(shipped)[0], "Where it is weak")
    own = weak.split("Own test petitions", 1)[1]
    assert f"20 petitions or more: `{worst}` " in own
    recall = shipped.manifest.scores["own test"]["emergency"]["recall"]
    assert f"Emergencies without an alarm: {recall['count'] - recall['hits']}/{recall['count']}." in own


def test_a_promise_that_was_not_kept_is_called_so(shipped: Bundle) -> None:
    def told(hits: int, low: float, high: float) -> str:
        rate = {"value": hits / 100, "hits": hits, "count": 100, "interval": [low, high]}
        sets = {**shipped.manifest.scores["real, ordinary"]["prediction_sets"], "coverage": rate, "stated": 0.95}
        scores = {"real, ordinary": {**shipped.manifest.scores["real, ordinary"], "prediction_sets": sets}}
        weak = _section(_cards(shipped, scores=scores)[0], "Where it is weak")
        return next((line for line in weak.splitlines() if "possible ones" in line), "")

    assert told(80, 0.71, 0.87).endswith("stated 95, seen **80** (80/100; 71 to 87), **less than stated**.")
    assert told(93, 0.86, 0.97).endswith("which may be chance.")
    assert told(96, 0.9, 0.98) == ""


def test_without_real_petitions_it_says_so(shipped: Bundle) -> None:
    english, vietnamese = _cards(shipped, scores={"own test": shipped.manifest.scores["own test"]})
    assert "not measured on real petitions" in english and "Chưa đo trên đơn thật" in vietnamese
    for card in _cards(shipped):
        assert "not measured on real" not in card and "Chưa đo" not in card


def test_a_model_that_was_not_measured_says_how_to(shipped: Bundle) -> None:
    for card in _cards(shipped, scores={}):
        assert card.count(f"petitions-train evaluate models/{shipped.manifest.version} --real") == 2
        assert "**" not in _section(card, "How often it is right" if "How often" in card else "Đúng đến đâu")


def test_what_is_not_known_is_called_unknown(shipped: Bundle) -> None:
    sides = {name: {key: of[key] for key in ("count", "sha256")} for name, of in shipped.manifest.trained_on.items()}
    english, vietnamese = _cards(shipped, trained_on=sides, provenance=None)
    assert (
        "Code: not recorded" in english
        and "Run: not recorded" in english
        and "How it was made was not recorded" in english
    )
    assert "not recorded | not recorded | not recorded" in _section(english, "What it learnt from")
    assert "Whether real petitions" in _section(english, "Personal data")
    assert "Không ghi lại có đơn thật" in _section(vietnamese, "Dữ liệu cá nhân")


def test_provenance_is_told(shipped: Bundle) -> None:
    days = ["2026-01-05", "2026-03-09"]
    train = {
        "count": 5000,
        "sha256": "f" * 64,
        "real": 1200,
        "period": days,
        "sets": [{"name": "pulled-1", "count": 5000}],
    }
    made = Provenance(
        code=Code(version="9.9", commit="c" * 40, changed=True),
        run=MadeBy(
            command="quick", config_sha256="d" * 64, seed=13, encoder="before-1", started="2026-05-01T01:02:03+00:00"
        ),
    )
    english, vietnamese = _cards(
        shipped,
        trained_on={"train": train},
        provenance=made,
        encoder=shipped.manifest.encoder | {"frozen_from": "before-1"},
    )
    assert "| 5,000 | 1,200 | 2026-01-05 to 2026-03-09 | pulled-1 (5,000) |" in english
    assert "| 5.000 | 1.200 | 05/01/2026 đến 09/03/2026 | pulled-1 (5.000) |" in vietnamese
    assert "linear.npz holds words" in english and "linear.npz chứa từ" in vietnamese
    for card in (english, vietnamese):
        assert f"petitions 9.9, commit `{'c' * 40}`, **" in card
        assert f"`{'d' * 64}`" in card and "--model models/before-1" in card
    assert "Encoder frozen from before-1" in english and "giữ nguyên của before-1" in vietnamese


def test_gates_are_told(shipped: Bundle) -> None:
    def gates(*failures: str) -> Gates:
        return Gates(
            format=1, candidate="b", against="a", passed=not failures, failures=failures, at="2026-11-28T00:00:00+00:00"
        )

    assert "Compared with a on 2026-11-28: no gate failed" in _cards(shipped, gates())[0]
    failed = _cards(shipped, gates("ECE is 0.2", "too slow"))
    assert "**2 gates failed**" in failed[0] and "không đạt 2 điều kiện" in failed[1]
    assert all("  - ECE is 0.2\n  - too slow" in card for card in failed)


def test_scores_go_into_manifest_and_cards_and_the_model_still_loads(
    tmp_path: Path, model_dir: Path, reports: dict[str, dict[str, Any]]
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model_dir, copy)
    before = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    record_scores(copy, reports)
    after = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    assert {**after, "scores": {}} == before
    assert {path.name for path in copy.iterdir()} == {path.name for path in model_dir.iterdir()}
    card = (copy / ENGLISH_CARD).read_text(encoding="utf-8")
    assert card.startswith("# tiny-1\n")
    assert summary_table(reports) in card
    assert f"`{digest(make_petitions(18))}`" in card, "which petitions it was measured on"
    # The manifest holds what the console's page of the model draws, and no other long table.
    manifest = load_bundle(copy).manifest
    for name, scores in manifest.scores.items():
        for kept in ("category", "curve", "prediction_sets", "zones"):
            assert scores[kept] == reports[name][kept], kept
    others = {
        name: value for name, value in manifest.scores["own test"].items() if name in ("urgency", "petition_type")
    }
    assert not re.search('"(confusion|reliability|classes)"', json.dumps(others))
    text = make_petitions(1)[0].text
    models = PetitionClassifier.load(model_dir), PetitionClassifier.load(copy)
    assert models[0].classify(text).as_dict() == models[1].classify(text).as_dict()


def test_written_twice_the_cards_are_the_same_bytes(
    tmp_path: Path, model_dir: Path, reports: dict[str, dict[str, Any]]
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model_dir, copy)
    record_scores(copy, reports)
    first = {path.name: path.read_bytes() for path in copy.iterdir()}
    record_scores(copy, reports)
    write_cards(copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == first


def test_gates_beside_the_model_enter_its_cards(tmp_path: Path, model_dir: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model_dir, copy)
    write_cards(copy)
    assert "Not compared" in (copy / ENGLISH_CARD).read_text(encoding="utf-8")
    verdict = Gates(format=1, candidate="tiny-1", against="tiny-0", passed=True)
    (copy / "gates.json").write_text(verdict.model_dump_json(), encoding="utf-8")
    write_cards(copy)
    assert "Compared with tiny-0 on a day not recorded: no gate failed" in (copy / ENGLISH_CARD).read_text(
        encoding="utf-8"
    )


def _of_before(model_dir: Path, copy: Path) -> None:
    """A model that was made before provenance was kept."""
    shutil.copytree(model_dir, copy)
    content = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    del content["provenance"]
    content["trained_on"] = {
        side: {key: of[key] for key in ("count", "sha256")} for side, of in content["trained_on"].items()
    }
    (copy / MANIFEST).write_text(json.dumps(content), encoding="utf-8")


def test_petitions_are_noted_only_where_the_hash_proves_them(
    tmp_path: Path, model_dir: Path, petitions_dir: Path
) -> None:
    copy, other = tmp_path / "model", tmp_path / "other"
    _of_before(model_dir, copy)
    shutil.copytree(petitions_dir, other)
    shutil.copyfile(other / "test.jsonl", other / "dev.jsonl")
    before: Manifest = load_bundle(copy).manifest
    assert record_data(copy, [other]) == ["train"]
    after = load_bundle(copy).manifest
    assert after.trained_on["train"]["real"] == 0 and after.trained_on["dev"] == before.trained_on["dev"]
    assert record_data(copy, [tmp_path]) == []
    assert record_data(copy, [petitions_dir]) == ["train", "dev"]
    assert load_bundle(copy).manifest.trained_on == load_bundle(model_dir).manifest.trained_on


def test_the_technical_file_gets_the_model_and_keeps_the_rest(tmp_path: Path, shipped: Bundle) -> None:
    file = tmp_path / "file.md"
    template = (ROOT / "docs" / "technical-file.md").read_text(encoding="utf-8")
    written = template.replace("[Cơ quan điền]", "Sở Mẫu", 1)
    before, after = written.split(BEGIN)[0], written.split(END)[1]
    file.write_text(f"{before}{BEGIN}\ncũ\n{END}{after}", encoding="utf-8")
    write_technical_file(shipped.directory, file)
    text = file.read_text(encoding="utf-8")
    assert text.startswith(before) and text.endswith(after) and "\ncũ\n" not in text
    assert shipped.manifest.version in text and shipped.manifest.files["model.onnx"] in text
    assert _of_100(shipped.manifest.scores["real, ordinary"]["category"]["top1"], "đến") in text
    write_technical_file(shipped.directory, file)
    assert file.read_text(encoding="utf-8") == text
    file.write_text("không có chỗ\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"docs/technical-file\.md"):
        write_technical_file(shipped.directory, file)


def test_the_shipped_technical_file_has_the_shipped_model(tmp_path: Path, shipped: Bundle) -> None:
    copy = shutil.copyfile(ROOT / "docs" / "technical-file.md", tmp_path / "file.md")
    before = copy.read_text(encoding="utf-8")
    write_technical_file(shipped.directory, copy)
    assert copy.read_text(encoding="utf-8") == before, (
        f"petitions-train card {SHIPPED} --technical-file docs/technical-file.md"
    )
