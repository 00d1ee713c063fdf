import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, select, update

from nlp_service import audit
from nlp_service.desk import Desk, Verdict
from nlp_service.errors import PetitionError
from nlp_service.intake import Intake
from nlp_service.roles import Principal, Role
from nlp_service.store import petitions, reviews, snapshot
from nlp_service.taxonomy import Taxonomy
from nlp_service.triage import Sender
from tests.nlp_service.offices import BRIBE, NOW, classified, incoming, shipped_rules
from training.cli import app
from training.data import Petition, read_petitions
from training.pull import Pulled, collect, pseudonym
from training.releases import Example, Period, Release, publish

LAN, HUNG, MAI = (Principal(name, Role.REVIEWER) for name in ("lan", "hùng", "mai"))
KEY = b"k" * 32
SMALL = Period(least=0)
MATTERS = (
    "Cột điện trước cổng trường tiểu học bị nghiêng sau trận gió đêm thứ ba, trẻ con đi qua rất sợ.",
    "Kênh mương nội đồng lâu ngày không nạo vét nên ruộng cuối nguồn thiếu nước cấy vụ mùa này.",
    "Quán hát sát nhà mở loa tới quá nửa đêm, người già trong xóm mất ngủ đã nhiều tháng nay.",
    "Hồ sơ xin cấp lại giấy khai sinh nộp từ đầu tháng mà bộ phận một cửa hẹn đi hẹn lại mãi.",
    "Lò gạch cũ xả khói đen phủ kín vườn cam, lá vàng rụng hết, bà con không dám mở cửa sổ.",
    "Tiền hỗ trợ hộ nghèo quý trước tới giờ chưa nhận được, hỏi cán bộ chỉ nói chờ danh sách.",
    "Cầu phao bắc qua bến cũ mục ván, người đi chợ sớm ngã xuống sông hai lần trong tuần qua.",
    "Trạm y tế hết thuốc huyết áp từ giữa tháng, các cụ phải bắt xe ôm lên tuyến trên lĩnh.",
)


class Office:
    """A store with petitions that people decide on; second readings are asked for always or never."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now = NOW
        clock = lambda: self.now  # noqa: E731
        self.intake = Intake(engine, shipped_rules(), clock)
        self.desk = Desk(engine, shipped_rules(), str, clock)
        self.blind = Desk(engine, shipped_rules(), str, clock, second_readings=1.0)

    def receive(self, text: str, day: int = 0, **changes: object) -> int:
        item = incoming(text, **{"received_at": NOW + timedelta(days=day), **changes})
        return int(self.intake.take([item], [classified(text)], "portal")[0].body["id"])

    def decide(self, who: Principal, petition: int, category: str, desk: Desk | None = None, sure: bool = True) -> None:
        with self.engine.connect() as connection:
            version = connection.execute(select(petitions.c.version).where(petitions.c.id == petition)).scalar_one()
        (desk or self.desk).decide(who, petition, Verdict(category=category, sure=sure), version)

    def decided(self, text: str, day: int = 0, category: str = "environment_resources", **changes: object) -> int:
        petition = self.receive(text, day, **changes)
        self.decide(LAN, petition, category)
        return petition

    def pull(self, **options: Any) -> Pulled:
        with snapshot(self.engine) as connection:
            return collect(connection, KEY, **options)


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """`petitions-train` in this process."""

    def call(*arguments: str | Path) -> Result:
        try:
            code = app([str(argument) for argument in arguments], standalone_mode=False)
        except PetitionError as error:
            return Result(2, capsys.readouterr().out, error.message)
        captured = capsys.readouterr()
        return Result(code or 0, captured.out, captured.err)

    return call


@pytest.fixture
def office(engine: Engine) -> Office:
    return Office(engine)


def _release(
    pulled: Pulled,
    into: Path,
    taxonomy: Taxonomy,
    period: Period = SMALL,
    beside: Any = (),
) -> Release:
    return publish(pulled.examples, into, date(2026, 11, 28), taxonomy, {"source": "store"}, period, beside)


def _sides(release: Release, taxonomy: Taxonomy) -> dict[str, str]:
    return {
        row.id: side
        for side in ("train", "dev", "test")
        for row in read_petitions(release.directory / f"{side}.jsonl", taxonomy)
    }


def _only(pulled: Pulled) -> Example:
    [example] = pulled.examples
    return example


def test_a_decision_becomes_an_example_without_the_person_in_it(office: Office) -> None:
    text = "Tôi là Vi Thị Xuyến, số 0912 345 678. Lò gạch nhả khói đen. XUYẾN VI kính đơn, nhà vi thị xuyến ở cuối xóm."
    office.decided(text, sender=Sender(name="Xuyến Vi", phone="0912345678"))
    example = _only(office.pull())
    for gone in ("xuyến", "345"):
        assert gone not in example.petition.text.lower(), example.petition.text
    assert "khói đen" in example.petition.text
    assert example.petition.category == "environment_resources"
    expected = {"source": "store", "received_at": "2026-11-25", "readers": 1, "agreed": 1, "sure": True, "bulk": False}
    assert {**example.origin, **expected} == example.origin
    assert example.origin["suggested"]["category"] == "other" and example.origin["model_version"] == "fixed-1"
    with office.engine.connect() as connection:
        assert connection.execute(select(petitions.c.text_sha256)).scalar_one() == example.origin["text_sha256"]


def test_readers_are_pseudonyms_that_only_the_key_gives_away(office: Office) -> None:
    office.decided(MATTERS[0])
    office.decided(MATTERS[1])
    names = {example.origin["annotator"] for example in office.pull().examples}
    assert names == {pseudonym("lan", KEY)} and "lan" not in str(names)
    assert pseudonym("lan", b"another") != pseudonym("lan", KEY)
    assert "lan" not in json.dumps([example.row for example in office.pull().examples]).replace("land_", "")


def test_what_is_not_closed_is_not_pulled(office: Office) -> None:
    undone = office.decided(MATTERS[0])
    office.desk.undo(LAN)
    owed = office.receive(MATTERS[1])
    office.decide(LAN, owed, "water_supply_drainage", office.blind)
    office.receive(MATTERS[2])
    reopened = office.decided(MATTERS[3])
    with office.engine.begin() as connection:
        connection.execute(update(petitions).where(petitions.c.id == reopened).values(status="in_review", queued=True))
    pulled = office.pull()
    assert pulled.examples == [] and undone
    assert pulled.left_out == {"another reading owed": 1, "taken up again or split": 1}


def test_two_readers_who_differ_are_kept_apart_until_a_third_settles_it(
    office: Office, tmp_path: Path, taxonomy: Taxonomy
) -> None:
    petition = office.receive(MATTERS[4])
    office.decide(LAN, petition, "agriculture_rural", office.blind)
    office.decide(HUNG, petition, "environment_resources", office.blind)
    office.decided(MATTERS[0])
    release = _release(office.pull(), tmp_path, taxonomy)
    [conflict] = map(json.loads, (release.directory / "conflicts.jsonl").read_text(encoding="utf-8").splitlines())
    assert [r["category"] for r in conflict["origin"]["readings"]] == ["agriculture_rural", "environment_resources"]
    assert len(_sides(release, taxonomy)) == 1 and release.card["conflicts"] == 1
    office.decide(MAI, petition, "environment_resources", office.blind)
    settled = next(e for e in office.pull().examples if e.petition.id == conflict["id"])
    assert (settled.petition.category, settled.origin["conflict"]) == ("environment_resources", False)
    assert (settled.origin["readers"], settled.origin["agreed"]) == (3, 2)
    office.blind.undo(MAI)
    assert [e.origin["conflict"] for e in office.pull().examples if e.petition.id == conflict["id"]] == [True]
    office.decide(MAI, petition, "environment_resources", office.blind)
    assert len(_sides(_release(office.pull(), tmp_path, taxonomy), taxonomy)) == 2


def test_labels_given_to_many_at_once_are_marked(office: Office) -> None:
    office.decided(MATTERS[5])
    with office.engine.begin() as connection:
        connection.execute(update(reviews).values(bulk=True))
    assert _only(office.pull()).origin["bulk"] is True


def test_restricted_petitions_only_for_who_says_so(office: Office) -> None:
    petition = office.receive(BRIBE)
    office.decide(LAN, petition, "official_conduct")
    assert office.pull().examples == [] and office.pull().left_out == {"restricted": 1}
    assert _only(office.pull(restricted=True)).origin["restricted"] is True


def test_days_of_receipt_are_vietnamese_ones(office: Office) -> None:
    late = datetime.fromisoformat("2026-11-20T23:30:00+07:00")
    office.decided(MATTERS[0], received_at=late)
    day = date(2026, 11, 20)
    assert len(office.pull(since=day, until=day).examples) == 1
    assert office.pull(since=day + timedelta(days=1)).examples == []
    assert office.pull(until=day - timedelta(days=1)).examples == []


def test_the_latest_period_is_tested_on_and_stays_so(office: Office, tmp_path: Path, taxonomy: Taxonomy) -> None:
    for day, matter in enumerate(MATTERS[:5]):
        office.decided(matter, day * 10)
    first = _release(office.pull(), tmp_path, taxonomy)
    before = _sides(first, taxonomy)
    assert [i for i, side in before.items() if side == "test"] == ["s00000005"]
    frozen = (first.directory / "test.jsonl").read_bytes()
    variant = office.decided(MATTERS[4].upper().replace("KÍN", "GẦN KÍN"), 60)  # of the one that is tested on
    fresh = office.decided(MATTERS[5], 61)
    second = _release(office.pull(), tmp_path, taxonomy)
    after = _sides(second, taxonomy)
    assert {**after, **before} == after
    assert after[f"s{variant:08d}"] == "test" and after[f"s{fresh:08d}"] != "test"
    assert second.directory != first.directory and (first.directory / "test.jsonl").read_bytes() == frozen
    newest = office.decided(MATTERS[6], 70)
    third = _sides(_release(office.pull(), tmp_path, taxonomy, Period(date(2027, 1, 1))), taxonomy)
    assert third[f"s{newest:08d}"] == "test" and {**third, **after} == third


def test_a_variant_is_kept_out_of_training_even_when_the_tested_petition_is_gone(
    office: Office, tmp_path: Path, taxonomy: Taxonomy
) -> None:
    for day, matter in enumerate(MATTERS[:5]):
        office.decided(matter, day * 10)
    _release(office.pull(), tmp_path, taxonomy)
    with office.engine.begin() as connection:
        connection.execute(petitions.delete().where(petitions.c.id == 5))
    variant = office.decided("Kính gửi ủy ban nhân dân. " + MATTERS[4], -30)
    sides = _sides(_release(office.pull(), tmp_path, taxonomy), taxonomy)
    assert "s00000005" not in sides or variant == 5
    assert [side for i, side in sides.items() if i == f"s{variant:08d}"] == ["test"]


def test_petitions_tied_by_people_are_one_story(office: Office, tmp_path: Path, taxonomy: Taxonomy) -> None:
    old, new = office.decided(MATTERS[0]), office.decided(MATTERS[1], 50)
    office.decided(MATTERS[2], 49)
    with office.engine.connect() as connection:
        version = connection.execute(select(petitions.c.version).where(petitions.c.id == new)).scalar_one()
    office.desk.link(LAN, new, old, version)
    release = _release(office.pull(), tmp_path, taxonomy)
    rows = {
        row.id: row
        for side in ("train", "dev")
        for row in read_petitions(release.directory / f"{side}.jsonl", taxonomy)
    }
    assert rows["s00000001"].group == rows["s00000002"].group
    assert _sides(release, taxonomy)["s00000003"] == "test"


def test_nothing_new_writes_nothing(office: Office, tmp_path: Path, taxonomy: Taxonomy) -> None:
    for day, matter in enumerate(MATTERS[:4]):
        office.decided(matter, day)
    first = _release(office.pull(), tmp_path, taxonomy)
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    again = publish(office.pull().examples, tmp_path, date(2027, 5, 1), taxonomy, {}, Period(least=0))
    assert again.directory == first.directory and first.new and not again.new
    assert files == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()
    }
    assert first.card["petitions"]["train"]["count"] + first.card["petitions"]["dev"]["count"] == 3


def test_unmasked_text_is_never_written(tmp_path: Path, taxonomy: Taxonomy) -> None:
    petition = Petition("s1", "Gọi tôi số 0912 345 678 nhé", "other", "low", "other")
    with pytest.raises(PetitionError, match=r"ids s1\).*nothing was written") as failure:
        publish([Example(petition, {})], tmp_path / "d", date(2026, 1, 1), taxonomy, {})
    assert "0912" not in failure.value.message and not (tmp_path / "d").exists()


def test_a_story_between_two_sides_of_other_data_is_on_neither(
    office: Office, tmp_path: Path, taxonomy: Taxonomy
) -> None:
    office.decided(MATTERS[0])
    office.decided(MATTERS[1])
    office.decided(MATTERS[2])
    shipped = Petition("P1", MATTERS[0].lower(), "other", "low", "other", group="P1")
    tested = Petition("P2", MATTERS[1], "other", "low", "other", group="P2")
    release = _release(
        office.pull(), tmp_path, taxonomy, Period(date(2030, 1, 1)), [("test", tested), ("dev", shipped)]
    )
    assert {**_sides(release, taxonomy), "s00000001": "dev", "s00000002": "test"} == _sides(release, taxonomy)
    both = (
        Petition("P3", MATTERS[2], "other", "low", "other", group="P3"),
        Petition("P4", MATTERS[2], "other", "low", "other"),
    )
    other = _release(office.pull(), tmp_path / "b", taxonomy, beside=[("test", both[0]), ("train", both[1])])
    assert "s00000003" not in _sides(other, taxonomy) and other.card["source"]["between_two_sides"] == 1


def test_the_card_counts_what_is_there(office: Office, tmp_path: Path, taxonomy: Taxonomy) -> None:
    office.decided(MATTERS[0] + " Liên hệ 0912 345 678.", category="electricity_telecom_lighting")
    unsure = office.receive(MATTERS[1])
    office.decide(HUNG, unsure, "agriculture_rural", sure=False)
    release = _release(office.pull(), tmp_path, taxonomy)
    counts = release.card["counts"]
    assert counts["category"] == {"agriculture_rural": 1, "electricity_telecom_lighting": 1}
    assert counts["annotator"] == {pseudonym("lan", KEY): 1, pseudonym("hùng", KEY): 1}
    assert counts["month"] == {"2026-11": 2} and release.card["masked"] == {"phone": 1}
    assert (release.card["unsure"], release.card["one_reader"]) == (1, 2)
    text = (release.directory / "README.md").read_text(encoding="utf-8")
    assert "agriculture_rural 1" in text and release.card["sha256"] in text


def test_the_command_pulls_once_and_leaves_a_trace(
    office: Office, store_url: str, tmp_path: Path, train: Callable[..., Result]
) -> None:
    for day, matter in enumerate(MATTERS[:4]):
        office.decided(matter, day)
    first = train("pull", "--store", store_url, "--output", tmp_path / "out", "--test-least", "0")
    assert first.code == 0 and first.out.startswith("written: "), first.err
    second = train("pull", "--store", store_url, "--output", tmp_path / "out", "--test-least", "0")
    assert second.out.startswith("nothing new: ")
    name = Path(first.out.split()[1]).name
    with snapshot(office.engine) as connection:
        [entry] = audit.history(connection, f"dataset:{name}")
        assert audit.verify(connection).intact
    assert (entry["action"], entry["petitions"]) == ("dataset.pull", 4)
    assert (tmp_path / "out" / "reviewers.key").stat().st_mode & 0o077 == 0
