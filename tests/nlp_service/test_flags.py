"""Flags over sentences written for it: what counts as a signatory, a writer, a second content, and what only looks like one."""

import json
from typing import Any

import pytest

from nlp_service.flags import SECOND_CONTENT, Flags, extract
from nlp_service.text import strip_diacritics


def flags(text: str, petition_type: str = "feedback", **fields: Any) -> Flags:
    given = {"sender_name": None, "sender_address": None, "second_probability": 0.0, **fields}
    return extract(text, petition_type=petition_type, **given)


MASS = [
    ("Chúng tôi gồm 12 hộ ở cuối ngõ, đề nghị làm rãnh", 12),
    ("Tập thể 30 hộ dân thôn Đồng Tâm kiến nghị", 30),
    ("Tôi đại diện 25 hộ khu phố 3 xin trình bày", 25),
    ("Thay mặt cho hơn 40 tiểu thương chợ Mới", 40),
    ("Mười hai hộ chúng tôi bị ngập", 12),
    ("Chúng tôi là ba mươi lăm công nhân xưởng may", 35),
    ("86 hộ dân trong xóm cùng ký tên vào đơn này", 86),
    ("Kèm theo 1.250 chữ ký", 1250),
    ("Chúng tôi có một trăm linh năm hộ", 105),
    (
        "Đồng kính đơn: 1. Lê Văn Hai 2. Trần Thị Ba 3. Bùi Văn Bốn 4. Ngô Thị Năm 5. Đỗ Văn Sáu 6. Vũ Thị Bảy",
        6,
    ),
    ("Tập thể tiểu thương chợ Đình kính mong các cấp xem xét", None),
    ("Chúng tôi là các hộ dân sống ven kênh", None),
]


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize(("text", "count"), MASS)
def test_a_petition_of_many(text: str, count: int | None, bare: bool) -> None:
    found = flags(strip_diacritics(text) if bare else text)
    assert found.mass
    assert found.signatories == count
    assert found.mass_evidence


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "Tôi chờ sổ đỏ đã 5 năm",
        "Xã có 12 hộ nghèo trong danh sách, nhà tôi không có tên",
        "Thu của 167 hộ mỗi hộ 200 nghìn",
        "Vợ chồng tôi có 6 người con",
        "Chúng tôi gồm 3 hộ liền kề",
        "Bãi rác gây mùi cho 40 hộ xung quanh",
        "Hôm đó có hơn 20 người chờ ở cửa",
        "Đoàn kiểm tra 8 người đến rồi về",
        "1. Đường hỏng nặng 2. Đèn không sáng 3. Rác không thu",
        "Tôi ở phố Lê Lợi, số nhà 12, hộ bên cạnh nuôi 30 con lợn",
        "",
    ],
)
def test_numbers_of_other_things_are_no_signatories(text: str, bare: bool) -> None:
    assert not flags(strip_diacritics(text) if bare else text).mass


@pytest.mark.parametrize(
    ("text", "fields", "anonymous"),
    [
        ("Đường thôn hỏng nặng, đề nghị sửa", {}, True),
        ("Tôi xin giấu tên vì sợ bị trả thù", {}, True),
        ("Tôi là lao động tự do, mong được giúp", {}, True),
        ("tôi là hàng xóm nên biết rõ việc này", {}, True),
        ("Ông Lê Văn Tám ở thôn 3 đổ rác xuống kênh", {}, True),
        ("Đường thôn hỏng", {"sender_name": "Lê Thị Thử"}, False),
        ("Đường thôn hỏng", {"sender_address": "thôn 2, xã Đồng Mẫu"}, False),
        ("Đường thôn hỏng", {"sender_name": "  ", "sender_address": ""}, True),
        ("Tôi tên là Nguyễn Văn Thử, xin phản ánh", {}, False),
        ("toi ten la nguyen van thu, xin phan anh", {}, False),
        ("Tôi là Bùi Thị Mẫu, giáo viên nghỉ hưu", {}, False),
        ("Tôi trú tại thôn Đông, xã Đồng Mẫu", {}, False),
        ("Đề nghị sửa đường. Người làm đơn: Lê Thị Thử", {}, False),
        ("Đề nghị sửa đường cho bà con.\nLê Thị Thử", {}, False),
    ],
)
def test_anonymous_is_who_says_neither_name_nor_address(text: str, fields: dict[str, str], anonymous: bool) -> None:
    assert flags(text, **fields).anonymous is anonymous


@pytest.mark.parametrize(
    "text",
    [
        "Thứ nhất, đường hỏng. Thứ hai, đèn không sáng.",
        "Tôi xin hai việc. Một là sửa cầu, hai là nạo vét mương.",
        "Kiến nghị: 1. Sửa con đường vào thôn 2. Nạo vét mương đầu làng",
        "kien nghi: 1) sua con duong vao thon 2) nao vet muong dau lang",
        "Đường hỏng nặng. Ngoài ra, tôi còn đề nghị kéo nước sạch",
    ],
)
def test_several_contents(text: str) -> None:
    found = flags(text)
    assert found.multi_content
    assert found.multi_content_evidence


@pytest.mark.parametrize(
    "text",
    [
        "Đây là lần thứ hai tôi gửi đơn về con đường",
        "Sáng thứ hai xe rác không đến",
        "Ngày 1.2.2026 tôi nộp hồ sơ, hẹn ngày 2.3.2026 trả",
        "Danh sách: 1. Lê Văn Hai 2. Trần Thị Ba",
        "Phần đất tăng 1.5 lần, cao 2.3 mét",
    ],
)
def test_one_content(text: str) -> None:
    assert not flags(text).multi_content


def test_a_probable_second_category_is_a_second_content() -> None:
    assert flags("Đường hỏng", second_probability=SECOND_CONTENT).multi_content
    assert not flags("Đường hỏng", second_probability=SECOND_CONTENT - 0.01).multi_content


LETTER = (
    "CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM\nĐồng Mẫu, ngày 3 tháng 2 năm 2026\nĐƠN TỐ CÁO\nKính gửi: Thanh tra tỉnh\n"
    "Tôi tên là Lê Thị Thử, trú tại thôn 2, xã Đồng Mẫu.\nTôi tố cáo ông Bùi Văn Chín, trưởng thôn, giữ tiền quỹ.\n"
    "Đề nghị xác minh, xử lý.\nNgười tố cáo\n(Đã ký)\nLê Thị Thử"
)


@pytest.mark.parametrize("bare", [False, True])
def test_a_full_letter_has_all_that_the_circular_asks(bare: bool) -> None:
    found = flags(strip_diacritics(LETTER) if bare else LETTER, "denunciation")
    assert found.has_date and found.has_sender_name_address and found.has_signature
    assert found.written_in_vietnamese and found.names_respondent and found.states_request
    assert not (found.anonymous or found.mass or found.multi_content)


def test_what_a_letter_lacks() -> None:
    found = flags("Có người giữ tiền quỹ của thôn từ tháng 2", "denunciation")
    assert found.names_respondent is False
    assert not (found.has_date or found.has_sender_name_address or found.has_signature or found.states_request)
    assert flags("Cán bộ không ký tên vào biên bản").has_signature is False


@pytest.mark.parametrize(
    ("text", "petition_type", "names"),
    [
        ("Tôi khiếu nại Quyết định số 12/QĐ-UBND", "complaint", True),
        ("Tôi tố cáo Công ty Cát Mẫu hút cát ngoài mỏ", "denunciation", True),
        ("to cao ong le van tam lan dat", "denunciation", True),
        ("Đơn tố cáo. Kính gửi Công an tỉnh. Có kẻ trộm chó", "denunciation", False),
        ("Đường hỏng", "feedback", None),
    ],
)
def test_the_respondent_is_asked_of_complaints_and_denunciations(
    text: str, petition_type: str, names: bool | None
) -> None:
    assert flags(text, petition_type).names_respondent is names


@pytest.mark.parametrize(
    ("text", "vietnamese"),
    [
        ("Đề nghị sửa đường", True),
        ("de nghi sua duong vao thon", True),
        ("Dear officer, the road in front of our house has been broken since last winter", False),
        ("尊敬的领导, 我们的路坏了", False),
        ("12345 !!!", False),
    ],
)
def test_the_language(text: str, vietnamese: bool) -> None:
    assert flags(text).written_in_vietnamese is vietnamese


def test_flags_are_json() -> None:
    assert json.loads(json.dumps(flags(LETTER).as_dict()))["anonymous"] is False
