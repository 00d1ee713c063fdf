from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select, update

from nlp_service import audit
from nlp_service.intake import Intake, RequestKey
from nlp_service.retention import Mode, forget
from nlp_service.store import decisions, deletions, idempotency, petitions, predictions, senders, writing
from nlp_service.triage import Sender
from tests.nlp_service.offices import NOW, classified, incoming, shipped_rules

TEXT = "Tôi tên là Lê Thị Bưởi, số điện thoại 0912 345 678, phản ánh ổ gà ở xã Nga Thắng."
YEARS_LATER = NOW + timedelta(days=6 * 365)


@pytest.fixture(autouse=True)
def two_old_petitions(engine: Engine) -> None:
    """The first is closed, the second still open."""
    intake = Intake(engine, shipped_rules(), clock=lambda: NOW)
    for name in ("closed", "open"):
        item = incoming(
            TEXT,
            external_id=name,
            commune="Nhà bà Bưởi, xã Nga Thắng",
            location={"address": "số 12 ngõ 3", "lat": 19.9},
            sender=Sender(name="Lê Thị Bưởi", phone="0912345678"),
        )
        intake.take([item], [classified(TEXT)], "cổng", RequestKey(name, "a" * 64), lambda receipts: receipts[0].body)  # type: ignore[union-attr]
    with writing(engine) as connection:
        connection.execute(update(petitions).where(petitions.c.external_id == "closed").values(status="closed"))


def _forget(engine: Engine, mode: Mode, days: int = 5 * 365, dry_run: bool = False) -> tuple[int, int]:
    report = forget(engine, mode, timedelta(days=days), "lưu trữ", "hết hạn", dry_run, clock=lambda: YEARS_LATER)
    return report.done, report.still_open


def test_masking_keeps_the_matter_and_drops_the_person(engine: Engine) -> None:
    assert _forget(engine, Mode.MASK, dry_run=True) == (1, 1)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(deletions)).scalar_one() == 0
    assert _forget(engine, Mode.MASK) == (1, 1)
    with engine.connect() as connection:
        row = connection.execute(select(petitions).where(petitions.c.external_id == "closed")).mappings().one()
        left = connection.execute(select(senders.c.petition_id)).scalars().all()
        register = connection.execute(select(deletions)).mappings().one()
        assert audit.verify(connection).intact
        assert [e["action"] for e in audit.history(connection, f"petition:{row['id']}")][-1] == "petition.mask"
    for gone in ("Bưởi", "buoi", "345"):
        assert gone not in row["text"] and gone not in row["folded"]
    assert "ổ gà" in row["text"] and row["masked_at"] == YEARS_LATER
    assert row["location"] is None and row["commune_given"] is None
    assert row["id"] not in left and len(left) == 1
    assert (register["petition_id"], register["mode"], register["reason"]) == (row["id"], "mask", "hết hạn")
    assert _forget(engine, Mode.MASK) == (0, 1)


def test_reasons_that_clerks_wrote_are_masked_too(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(
            decisions.insert().values(
                petition_id=1,
                at=NOW,
                actor="a",
                field="status",
                new="closed",
                reason="đã gọi ông Lê Văn Tám 0912345678",
            )
        )
        connection.execute(
            update(decisions).values(
                petition_id=select(petitions.c.id).where(petitions.c.status == "closed").scalar_subquery()
            )
        )
    _forget(engine, Mode.MASK)
    with engine.connect() as connection:
        reason = connection.execute(select(decisions.c.reason)).scalar_one()
    assert "0912345678" not in reason and "Tám" not in reason


def test_deleting_leaves_the_register_alone(engine: Engine) -> None:
    assert _forget(engine, Mode.DELETE) == (1, 1)
    with engine.connect() as connection:
        assert connection.execute(select(petitions.c.external_id)).scalars().all() == ["open"]
        assert connection.execute(select(func.count()).select_from(predictions)).scalar_one() == 1
        assert connection.execute(select(deletions.c.mode)).scalar_one() == "delete"
        assert audit.verify(connection).intact


def test_what_is_young_or_open_stays(engine: Engine) -> None:
    assert _forget(engine, Mode.DELETE, days=7 * 365) == (0, 0)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(petitions)).scalar_one() == 2


def test_remembered_answers_go_after_a_week(engine: Engine) -> None:
    _forget(engine, Mode.MASK)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(idempotency)).scalar_one() == 0
