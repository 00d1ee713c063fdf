import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, insert

from nlp_service.api import create_app
from nlp_service.bundle import PredictionSets
from nlp_service.roles import Role
from nlp_service.settings import Settings
from nlp_service.store import predictions, reviews, writing
from tests.nlp_service.console.visits import log_in
from tests.nlp_service.offices import DOUBTFUL, FixedClassifier, local_client, shipped_rules, shipped_taxonomy
from tests.nlp_service.stored import MODEL, keep, row

LABELS = [category.id for category in shipped_taxonomy().categories]
Open = Callable[[dict[str, Any]], TestClient]


def rate(hits: int, count: int) -> dict[str, Any]:
    return {"value": hits / count, "hits": hits, "count": count, "interval": [0.5, 0.9]}


def scored(top1: int = 70) -> dict[str, Any]:
    """One set's figures as evaluation writes them: a hundred petitions, every one of the first two categories."""
    matrix = [[0] * len(LABELS) for _ in LABELS]
    matrix[0][0], matrix[0][3], matrix[1][1] = top1 - 30, 60 - (top1 - 30), 40
    return {
        "count": 100,
        "category": {
            "top1": rate(top1, 100),
            "labels": LABELS,
            "confusion": matrix,
            "classes": {label: {"precision": 0.5, "recall": 0.25, "f1": 0.33, "count": 5} for label in LABELS},
            "reliability": [{"confidence": 0.8, "accuracy": 0.7, "count": 100}],
        },
        "curve": {
            "stated": 0.97,
            "threshold": 0.9,
            "points": [{"threshold": 0.9, "share": 0.6, "precision": 0.95, "count": 60}],
        },
        "prediction_sets": {
            "coverage": rate(94, 100),
            "mean_size": 1.52,
            "singletons": rate(61, 100),
            "classes": {label: rate(4, 5) for label in LABELS},
        },
        "zones": {zone: {"share": rate(60, 100), "top1": rate(57, 60)} for zone in ("auto", "suggest", "human")},
    }


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """One kind of database is enough here: what is asked of it is tested on both in test_live.py."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def opened(store_url: str) -> Iterator[Open]:
    """Opens a service whose model has these fields of its manifest."""
    clients: list[TestClient] = []

    def start(changes: dict[str, Any]) -> TestClient:
        classifier = FixedClassifier()
        manifest = classifier.bundle.manifest.model_copy(update=changes)
        classifier.bundle = classifier.bundle.model_copy(update={"manifest": manifest})
        client = local_client(create_app(Settings(store=store_url), classifier, shipped_rules()))  # type: ignore[arg-type]
        clients.append(client)
        return client.__enter__()

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def page(client: TestClient, query: str = "") -> str:
    answer = client.get(f"/console/model{query}")
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.text.replace("\N{NO-BREAK SPACE}", " "))


def test_figures_of_own_and_real_petitions_stand_side_by_side(opened: Open) -> None:
    found = page(opened({"scores": {"own test": scored(70), "real, all": scored(55)}}))
    row = found.split("Lĩnh vực đúng ngay ở gợi ý đầu</th>", 1)[1].split("</tr>", 1)[0]
    assert row.index("70 % (70/100") < row.index("55 % (55/100")
    assert "petitions-train evaluate" not in found


def test_the_page_shows_curve_matrix_and_classes_without_any_style_or_script_of_its_own(opened: Open) -> None:
    sets = {"category": PredictionSets(coverage=0.95, kind="marginal", threshold=0.1)}
    found = page(opened({"scores": {"own test": scored()}, "prediction_sets": sets}))
    assert found.count('<svg viewBox="') == 2 and 'class="mark"' in found
    assert len(re.findall(r'<td class="number (?:hit|miss)?\d?">', found)) == 21 * 21
    assert "bị đọc thành Hạ tầng giao thông, vận tải: 20 trong 60 đơn" in found
    assert "1,52" in found and "94 % (94/100" in found
    main = found.split("<main", 1)[1]
    assert " style=" not in main and "<script" not in main and " onclick" not in main


def test_what_it_learnt_from_is_told_as_the_manifest_has_it(opened: Open) -> None:
    assert "không dùng đơn thật của công dân để dạy" in page(opened({"trained_on": {"train": {"count": 50}}}))
    part = {"count": 5000, "real": 1200, "period": ["2026-01-05", "2026-03-09"]}
    found = page(opened({"trained_on": {"train": part, "dev": {"count": 80, "real": 0}}}))
    assert "để dạy: 5.000 đơn (nhận từ 05/01/2026 đến 09/03/2026); để chỉnh ngưỡng: 80 đơn." in found
    assert "Trong đó 1.200 đơn thật" in found
    assert "không dùng đơn thật" not in found and "Chưa học từ đơn thật" not in found


def test_every_number_of_a_drawing_is_in_a_table_too(opened: Open) -> None:
    found = page(opened({"scores": {"own test": scored()}}))
    row = (
        '<td class="number">90 %</td><td class="number">60 %</td><td class="number">60</td><td class="number">95 %</td>'
    )
    assert row in found
    assert '<td class="number">80 %</td><td class="number">70 %</td><td class="number">100</td>' in found


def test_details_are_those_of_the_chosen_set(opened: Open) -> None:
    client = opened({"scores": {"own test": scored(70), "real, all": {**scored(55), "count": 99}}})
    assert "Chi tiết: Đơn thật: tất cả (99 đơn)" in page(client, "?of=real%2C+all")
    assert "Chi tiết: Đơn tự viết, để riêng (100 đơn)" in page(client, "?of=nothing")


def test_a_model_without_figures_names_the_command_that_makes_them(opened: Open) -> None:
    found = page(opened({"scores": {}, "version": "petition-2027-01-01"}))
    assert "petitions-train evaluate models/petition-2027-01-01" in found
    assert "Giới hạn đã biết" in found and "Cần người đọc" in found


def test_the_page_states_precision_and_coverage_or_that_none_is_stated(opened: Open) -> None:
    client = opened({"prediction_sets": {}})
    thresholds = client.app.state.office.classifier.bundle.manifest.thresholds  # type: ignore[attr-defined]
    if thresholds.auto_precision is None:
        assert "không công bố mức đúng" in page(client)
    assert "không kèm tập lĩnh vực" in page(client)
    stated = thresholds.model_copy(update={"auto_precision": 0.97})
    sets = {"category": PredictionSets(coverage=0.95, kind="marginal", threshold=0.1)}
    found = page(opened({"thresholds": stated, "prediction_sets": sets}))
    assert "Mức công bố: 97 % đúng lĩnh vực" in found and "Mức công bố: 95 % số đơn" in found
    never = page(opened({"thresholds": thresholds.model_copy(update={"auto": 1.01})}))
    assert "không chuyển thẳng đơn nào" in never


def test_the_encoder_is_not_taken_for_phobert(opened: Open) -> None:
    assert "Không phải PhoBERT của VinAI" in page(opened({}))


def _read(engine: Engine, petition: int, version: str, readings: int = 1, **changes: object) -> None:
    said = {"category": "other", "urgency": "low", "petition_type": "other"}
    rows = [
        {
            "petition_id": petition,
            "at": datetime.now(UTC) - timedelta(days=40),
            "reviewer": f"người {reading}",
            "reading": reading,
            **said,
            "sure": True,
            "bulk": False,
            "model_version": version,
            "suggested": {**said, "zone": "human"},
            **changes,
        }
        for reading in range(1, readings + 1)
    ]
    with writing(engine) as connection:
        connection.execute(insert(reviews), rows)


def test_what_the_desk_kept_is_shown_for_its_period_and_two_readers_with_an_honest_word(
    opened: Open, engine: Engine
) -> None:
    client = opened({})
    version = client.app.state.office.classifier.bundle.manifest.version  # type: ignore[attr-defined]
    receipt = client.post("/v1/petitions", json={"petitions": [{"text": DOUBTFUL}]}).json()["results"][0]
    petition = receipt["petition"]["id"]
    empty = page(client)
    assert "Chưa có đơn nào của mô hình này được đọc từng đơn trong 90 ngày qua" in empty
    assert "Chưa có đơn nào được hai người đọc độc lập" in empty
    _read(engine, petition, version, readings=2)
    _read(engine, petition, version, bulk=True, category="land_administration")
    _read(engine, petition, "older")
    found = page(client)
    month, quarter = found.split("<h3>30 ngày qua</h3>", 1)[1].split("<h3>90 ngày qua</h3>", 1)
    assert "trong 30 ngày qua" in month
    row = quarter.split('<th scope="row">Cần người đọc</th>', 1)[1].split("</tr>", 1)[0]
    assert '<td class="number">1</td><td>100 % (1/1; 20,7 đến 100 %)</td>' in row
    assert "Xử lý hàng loạt, không tính ở trên: 1 đơn, lĩnh vực giữ nguyên 0 % (0/1" in quarter
    assert "1 đơn khác do mô hình trước gợi ý" in quarter
    assert "quá ít để nói cán bộ có cùng ý hay không" in quarter
    assert "không tính được: chỉ có một nhãn" in quarter


def test_the_page_says_since_when_the_model_answers(opened: Open, engine: Engine) -> None:
    client = opened({"version": "petition-b"})
    assert "chưa đọc đơn nào được lưu" in page(client)
    client.post("/v1/petitions", json={"petitions": [{"text": DOUBTFUL}]})
    with writing(engine) as connection:
        at = datetime(2026, 11, 27, 2, 30, tzinfo=UTC)
        connection.execute(predictions.update().values(model_version="petition-b", at=at))
    assert "27/11/2026 09:30 (đơn đầu tiên được lưu)" in page(client)


def drift_part(client: TestClient) -> str:
    client.app.state.watch.look()  # type: ignore[attr-defined]
    return page(client).split('<h2 id="drift">', 1)[1].split("</section>", 1)[0]


def test_the_page_tells_in_words_what_has_changed_since_the_weeks_before(opened: Open, engine: Engine) -> None:
    last = datetime.now(UTC) - timedelta(weeks=1)
    keep(engine, [row(last, category="other") for _ in range(40)])
    keep(engine, [row(last - timedelta(weeks=2), category="land_administration") for _ in range(40)])
    name = next(c.name for c in shipped_taxonomy().categories if c.id == "land_administration")
    found = drift_part(opened({"version": MODEL}))
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th>(.*?)</tr>', found))
    assert "<strong>có thay đổi</strong> (" in rows["Lĩnh vực"] and f"{name} 100 % → 0 %" in rows["Lĩnh vực"]
    assert "không đổi (0,00)" in rows["Độ dài"] and "quá ít đơn" in rows["Từ lạ"]


def test_without_petitions_the_page_says_that_they_are_too_few(opened: Open) -> None:
    found = drift_part(opened({"version": MODEL}))
    assert found.count("<td>quá ít đơn</td>") >= 4 and "<strong>" not in found


@pytest.mark.parametrize("role", list(Role))
def test_whoever_may_read_sees_the_page(opened: Open, engine: Engine, role: Role) -> None:
    client = opened({})
    log_in(client, engine, role)
    assert "Giới hạn đã biết" in page(client)


def test_a_stranger_does_not(opened: Open, engine: Engine) -> None:
    client = opened({})
    log_in(client, engine, Role.AUDITOR)
    client.cookies.clear()
    answer = client.get("/console/model", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login?next=%2Fconsole%2Fmodel")
