import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, update

from nlp_service.casework import Status, scope
from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.intake import Intake
from nlp_service.pipeline import Classification, PetitionClassifier
from nlp_service.roles import LOCAL, Principal, Role
from nlp_service.similar import Found, Likeness, similar
from nlp_service.similar_index import SimilarIndex
from nlp_service.store import petitions, snapshot, writing
from nlp_service.triage import Sender
from nlp_service.vectors import Floats
from tests.nlp_service.offices import BRIBE, NOW, POTHOLE, ROOT, classified, incoming, shipped_rules

HERE, THERE = "xã Nga Thắng", "xã Mường Lát"
RETOLD = "Xe máy hay ngã trên đường liên thôn vì ổ gà, mong sửa giúp bà con."
OTHER_WORDS = "Nhà máy đêm nào cũng xả khói đen, khét lẹt, trẻ nhỏ ho suốt."
MATTER, UNLIKE = np.eye(4, dtype=np.float32)[:2]


def by(number: int) -> Sender:
    return Sender(name="Lê Thị Bưởi", phone=f"09000000{number:02}")


class Office:
    """A store with its index."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.index = SimilarIndex(engine, "fixed-1")
        self._intake = Intake(engine, shipped_rules(), clock=lambda: NOW)

    def add(
        self,
        text: str,
        vector: Floats = UNLIKE,
        commune: str = HERE,
        received_at: datetime = NOW,
        sender: Sender | None = None,
        classification: Classification | None = None,
    ) -> int:
        item = incoming(text, commune=commune, received_at=received_at, sender=sender or Sender())
        answer = classification or replace(classified(text), embedding=vector)
        (receipt,) = self._intake.take([item], [answer], "cổng")
        self.index.catch_up()
        return int(receipt.body["id"])

    def like(self, petition_id: int, principal: Principal = LOCAL, by_sender: bool = True, limit: int = 10) -> Found:
        with snapshot(self.engine) as connection:
            return similar(connection, self.index, petition_id, scope(principal), by_sender, limit)

    def kinds(self, petition_id: int, principal: Principal = LOCAL, by_sender: bool = True) -> dict[int, Likeness]:
        return {item.id: item.kind for item in self.like(petition_id, principal, by_sender).similar}


@pytest.fixture
def office(engine: Engine) -> Office:
    return Office(engine)


def test_each_is_told_by_how_it_is_alike_the_most_alike_first(office: Office) -> None:
    own = office.add(POTHOLE, MATTER, sender=by(1))
    sender = office.add(OTHER_WORDS, sender=by(1))
    elsewhere = office.add(RETOLD, MATTER, commune=THERE)
    office.add(OTHER_WORDS, commune=THERE)
    matter = office.add(RETOLD, MATTER, received_at=NOW - timedelta(days=3))
    again = office.add(POTHOLE + " Xin cảm ơn.", MATTER, sender=by(2))
    copy = office.add("ĐƯỜNG LIÊN THÔN " + POTHOLE.removeprefix("Đường liên thôn "), MATTER)
    assert list(office.kinds(own).items()) == [
        (copy, Likeness.SAME_WORDS),
        (again, Likeness.REPEATED),
        (matter, Likeness.SAME_MATTER),
        (sender, Likeness.SAME_SENDER),
        (elsewhere, Likeness.SAME_KIND),
    ]
    reasons = {item.id: item.reason for item in office.like(own).similar}
    assert reasons[copy] == "Trùng nguyên văn: cùng xã Nga Thắng, cùng ngày."
    assert reasons[matter].startswith("Có thể cùng vụ việc: cùng xã Nga Thắng, cách 3 ngày, chung ")
    assert reasons[elsewhere].startswith("Cùng loại việc: ở xã Mường Lát, cùng ngày, chung ")
    assert reasons[sender].startswith("Cùng người gửi: cùng xã Nga Thắng")
    assert [item.id for item in office.like(own, limit=2).similar] == [copy, again]


def test_a_longer_letter_with_all_of_it_is_a_repeat(office: Office) -> None:
    first = POTHOLE + " Mưa xuống nước ngập bánh xe, tối trời không có đèn nên càng khó tránh."
    more = (
        "Sau lần gửi trước, ngày mồng ba một bà cụ đi chợ bị ngã gãy xương đùi, con cháu phải đưa xuống viện tỉnh; hôm "
        "mồng bảy xe chở gạch lật nghiêng chắn ngang lối ra đồng suốt buổi chiều, thợ gặt không qua được, lúa chín rụng "
        "hết ngoài bãi. Trưởng thôn gọi ba lần, cán bộ hẹn tuần tới mà nay đã sang tháng, chưa thấy ai xuống đo đạc."
    )
    own = office.add(first, MATTER)
    longer = office.add(f"{first} {more}", MATTER)
    assert office.kinds(own) == {longer: Likeness.REPEATED}


def test_a_neighbour_is_found_wherever_it_is_and_however_old(office: Office) -> None:
    own = office.add(POTHOLE, MATTER, commune="")
    old = office.add(RETOLD, MATTER, commune="", received_at=NOW - timedelta(days=900))
    assert old in office.kinds(own)


def test_what_came_from_the_same_place_is_found_without_an_embedding(office: Office) -> None:
    own = office.add(POTHOLE, np.zeros(4, np.float32))
    repeat = office.add(POTHOLE + " Xin cảm ơn.", np.zeros(4, np.float32), received_at=NOW + timedelta(days=9))
    office.add(POTHOLE + " Xin cảm ơn lắm.", np.zeros(4, np.float32), received_at=NOW - timedelta(days=99))
    assert office.kinds(own) == {repeat: Likeness.REPEATED}


def test_nobody_sees_what_is_outside_the_scope(office: Office) -> None:
    own = office.add(POTHOLE, MATTER, sender=by(1))
    bribe = office.add(BRIBE, MATTER, sender=by(1))
    copy = office.add(POTHOLE, MATTER, commune=THERE, sender=by(1))
    with writing(office.engine) as connection:
        connection.execute(update(petitions).where(petitions.c.id == bribe).values(restricted=True))
        code = connection.execute(
            petitions.select().with_only_columns(petitions.c.commune_code).where(petitions.c.id == own)
        ).scalar_one()
    officer = Principal("cán bộ", Role.OFFICER, communes=frozenset({code}))
    assert set(office.kinds(own)) == {bribe, copy}
    assert office.kinds(own, officer) == {}
    with pytest.raises(PetitionError) as failure:
        office.like(copy, officer)
    assert failure.value.kind is ErrorKind.NOT_FOUND


def test_who_denounced_is_told_to_nobody_and_senders_only_to_who_may_see_them(office: Office) -> None:
    own = office.add(OTHER_WORDS, sender=by(1))
    office.add(BRIBE, MATTER, sender=by(1))
    pothole = office.add(POTHOLE, MATTER, sender=by(1))
    assert office.kinds(own) == {pothole: Likeness.SAME_SENDER}
    assert office.kinds(own, by_sender=False) == {}
    assert "Bưởi" not in str(office.like(own))


def test_three_who_complain_of_one_matter_within_a_month_are_a_joint_complaint(office: Office) -> None:
    own = office.add(POTHOLE, MATTER, sender=by(1))
    second = office.add(RETOLD, MATTER, sender=by(2), received_at=NOW - timedelta(days=20))
    office.add(RETOLD + " Gấp lắm.", MATTER, sender=by(1))
    assert office.like(own).joint is None  # the first one again
    office.add(RETOLD, MATTER, sender=by(3), received_at=NOW + timedelta(days=15))
    assert office.like(own).joint is None  # 35 days after the second
    office.add(POTHOLE, MATTER, sender=by(4), commune=THERE)
    assert office.like(own).joint is None
    third = office.add(POTHOLE, MATTER, sender=by(5), received_at=NOW - timedelta(days=2))
    joint = office.like(own, limit=1).joint
    assert joint and joint.voices == 3 and joint.petitions[:2] == (second, third) and own in joint.petitions
    assert joint.message == (
        "Có thể là đơn của nhiều người về cùng vụ việc: 4 đơn từ 3 người gửi hoặc lời trình bày khác nhau "
        "ở xã Nga Thắng trong 20 ngày."
    )


def test_what_was_merged_is_not_shown_again_but_counts(office: Office) -> None:
    own = office.add(POTHOLE, MATTER, sender=by(1))
    merged = [office.add(RETOLD, MATTER, sender=by(number)) for number in (2, 3)]
    with writing(office.engine) as connection:
        connection.execute(update(petitions).where(petitions.c.id.in_(merged)).values(status=Status.MERGED.value))
    found = office.like(own)
    assert found.similar == () and found.joint and set(found.joint.petitions) == {own, *merged}


def test_the_excerpt_is_masked_and_says_which_words_are_shared(office: Office) -> None:
    own = office.add("Ổ gà lớn trước cổng chợ, tôi bị ngã gãy tay.", MATTER)
    office.add("Tôi là Lê Văn Tám, số 0912345678. O GA LON TRUOC CONG CHO chưa ai lấp.", MATTER)
    (item,) = office.like(own).similar
    assert "Tám" not in item.excerpt and "0912345678" not in item.excerpt
    assert [item.excerpt[start:end] for start, end in item.shared] == ["O GA LON TRUOC CONG CHO"]
    assert (item.status, item.commune, item.received_at) == ("in_review", "Xã Nga Thắng", NOW)


STORY = (
    "Cầu tràn qua suối Hón ở bản Lát, xã Tam Thanh bị lũ cuốn mất nửa mặt cầu, học sinh phải lội nước đi học, "
    "có em suýt bị trôi. Đề nghị tỉnh cho làm cầu cứng."
)
STORY_RETOLD = (
    "Con chúng tôi ở bản Lát xã Tam Thanh sáng nào cũng lội suối tới trường vì cái tràn Hón lũ làm gãy từ tháng trước "
    "chưa ai sửa, hôm qua một cháu trượt chân may vớt được. Bà con mong có cây cầu chắc chắn."
)
SAME_PLACE_OTHER_MATTER = (
    "Bản Lát xã Tam Thanh chưa có sóng điện thoại, gọi cấp cứu phải trèo lên đồi. Mong nhà mạng đặt trạm phát."
)
SAME_KIND_OTHER_PROVINCE = (
    "Cầu treo qua sông Giăng ở xã Môn Sơn, tỉnh Nghệ An ván mục, dân đi xe máy qua lại rất sợ, đề nghị thay ván mới."
)


@pytest.fixture(scope="module")
def classifier() -> PetitionClassifier:
    return PetitionClassifier.load(ROOT / "models" / "current", Runtime.ONNXRUNTIME, threads=1)


def texts_of(count: int) -> Sequence[str]:
    with (ROOT / "datasets" / "petitions" / "dev.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(next(lines))["text"] for _ in range(count)]


@pytest.mark.slow
def test_two_who_tell_one_story_are_found_among_two_hundred(office: Office, classifier: PetitionClassifier) -> None:
    office.index.model_version = classifier.bundle.manifest.version
    texts = [STORY, STORY_RETOLD, SAME_PLACE_OTHER_MATTER, SAME_KIND_OTHER_PROVINCE, *texts_of(200)]
    ids = []
    for text, answer in zip(texts, classifier.classify_many(texts), strict=True):
        assert isinstance(answer, Classification)
        ids.append(office.add(text, commune="", classification=answer))
    for own, other in ((ids[0], ids[1]), (ids[1], ids[0])):
        matters = [item.id for item in office.like(own).similar if item.kind is Likeness.SAME_MATTER]
        assert matters == [other]
    assert office.like(ids[2]).joint is None
