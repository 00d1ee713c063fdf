import importlib.util
import json
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_service.places import Gazetteer, Place, PlaceStatus, load_gazetteer
from nlp_service.text import strip_diacritics

SHIPPED = Path(__file__).parents[2] / "datasets" / "places.yaml"
FOUND, AMBIGUOUS, UNKNOWN, OUTSIDE = PlaceStatus
PLACES = load_gazetteer(SHIPPED)

# The package lost the names of 14 old units, pairs alike but for their marks; from the list of Resolution 1686.
NAMELESS = {
    ("xã Hoa Lộc", "huyện Hậu Lộc"): "xã Hoa Lộc",
    ("xã Hòa Lộc", "huyện Hậu Lộc"): "xã Hoa Lộc",
    ("xã Nga Thanh", "huyện Nga Sơn"): "xã Nga Sơn",
    ("xã Nga Thành", "huyện Nga Sơn"): "xã Hồ Vương",
    ("xã Vĩnh Hưng", "huyện Vĩnh Lộc"): "xã Vĩnh Lộc",
    ("xã Vĩnh Hùng", "huyện Vĩnh Lộc"): "xã Biện Thượng",
    ("xã Hoằng Đồng", "huyện Hoằng Hóa"): "xã Hoằng Hóa",
    ("xã Hoằng Thành", "huyện Hoằng Hóa"): "xã Hoằng Lộc",
    ("xã Hoằng Phú", "huyện Hoằng Hóa"): "xã Hoằng Phú",
    ("xã Hoằng Quý", "huyện Hoằng Hóa"): "xã Hoằng Phú",
    ("xã Hoằng Quỳ", "huyện Hoằng Hóa"): "xã Hoằng Giang",
    ("xã Hoằng Thanh", "huyện Hoằng Hóa"): "xã Hoằng Thanh",
    ("xã Hoằng Đông", "huyện Hoằng Hóa"): "xã Hoằng Thanh",
    ("xã Hoằng Phụ", "huyện Hoằng Hóa"): "xã Hoằng Thanh",
}
SHORT = {"xã": "X.", "phường": "P.", "thị trấn": "TT ", "huyện": "H.", "thị xã": "TX ", "thành phố": "TP "}


def old_units() -> dict[tuple[str, str], frozenset[str]]:
    """What the package underthesea says of the 547: (unit, district) -> names of today's units."""
    package = importlib.util.find_spec("underthesea")
    assert package is not None and package.origin is not None
    data = json.loads((Path(package.origin).parent / "address/data/mapping.json").read_text(encoding="utf-8"))
    went = defaultdict(set)
    nameless = Counter[str]()
    for record in data["ward_mapping"]:
        if record["old_province_key"] == "tinhthanhhoa":
            unit, district, new = (lower(record[key]) for key in ("old_ward", "old_district", "new_ward"))
            if unit:
                went[unit, district].add(new)
            else:
                nameless[new] += 1
    assert nameless == Counter(NAMELESS.values())
    return {key: frozenset(new) for key, new in went.items()} | {k: frozenset({v}) for k, v in NAMELESS.items()}


def lower(full_name: str) -> str:
    return full_name[:1].lower() + full_name[1:]


def kind_and_name(full_name: str) -> tuple[str, str]:
    kind = next(kind for kind in SHORT if full_name.startswith(f"{kind} "))
    return kind, full_name.removeprefix(f"{kind} ")


def short(full_name: str) -> str:
    kind, name = kind_and_name(full_name)
    return SHORT[kind] + name


def names(place: Place) -> set[str]:
    units = (place.unit,) if place.unit else place.candidates
    return {lower(unit.full_name) for unit in units}


OLD = old_units()
PIECES = [
    *["xã", "phường", "TX", "TP.", "X.", "P.", "huyện", "tỉnh", ",", "-", "14797"],
    "thị trấn",
    "Hoằng Quang",
    "Đông Sơn",
    "Thanh Hóa",
    "Hà Nội",
]
MARKED_FORMS: dict[str, Callable[[str, str], Place]] = {
    "in full": lambda unit, district: PLACES.resolve(f"{unit}, {district}"),
    "abbreviated": lambda unit, district: PLACES.resolve(f"{short(unit)}, {short(district)}"),
    "unit abbreviated": lambda unit, district: PLACES.resolve(f"{short(unit)}, {district}"),
    "with a dash": lambda unit, district: PLACES.resolve(
        # "Thanh Hóa" alone is the province
        f"{short(unit)} - {short(district) if district.endswith('Thanh Hóa') else kind_and_name(district)[1]}"
    ),
    "no comma": lambda unit, district: PLACES.resolve(f"{unit} {district}"),
    "with province": lambda unit, district: PLACES.resolve(f"{unit}, {district}, tỉnh Thanh Hóa"),
    "district first": lambda unit, district: PLACES.resolve(f"Tỉnh Thanh Hóa, {district}, {unit}"),
    "capitals": lambda unit, district: PLACES.resolve(f"{unit}, {district}".upper()),
    "decomposed": lambda unit, district: PLACES.resolve(unicodedata.normalize("NFD", f"{unit}, {district}")),
    "in a sentence": lambda unit, district: PLACES.find(
        f"Tôi là Lê Thị Thử, trú tại thôn 3, {unit}, {district}. Đường thôn lầy lội, đề nghị xã hội quan tâm."
    ),
    "in a sentence, abbreviated": lambda unit, district: PLACES.find(
        f"Cống trước nhà em ở {short(unit)} {short(district)} tắc từ tháng 5, mong các bác xử lý giúp"
    ),
}


@pytest.mark.parametrize("form", MARKED_FORMS)
def test_every_old_unit_leads_to_its_units_of_today(form: str) -> None:
    assert len(OLD) == 547
    wrong = []
    for (unit, district), new in OLD.items():
        place = MARKED_FORMS[form](unit, district)
        if (
            names(place) != new
            or place.status != (FOUND if len(new) == 1 else AMBIGUOUS)
            or place.former != f"{unit}, {district}"
        ):
            wrong.append((unit, district, place))
    assert wrong == []


@pytest.mark.parametrize(
    "write",
    [
        lambda unit, district: PLACES.resolve(strip_diacritics(f"{unit}, {district}").lower()),
        lambda unit, district: PLACES.resolve(strip_diacritics(f"{unit} {district} tinh Thanh Hoa").lower()),
        lambda unit, district: PLACES.find(strip_diacritics(f"nha em o thon 2 {unit} {district} bi mat nuoc").lower()),
    ],
)
def test_without_marks_only_pairs_alike_stay_open(write: Callable[[str, str], Place]) -> None:
    alike: defaultdict[str, set[str]] = defaultdict(set)
    for (unit, district), new in OLD.items():
        alike[strip_diacritics(f"{unit}, {district}")] |= new
    alike["xa Thieu Van, huyen Thieu Hoa"].add("phường Đông Tiến")  # Thiệu Vân, in the city since 2012
    open_pairs = 0
    for unit, district in OLD:
        place, meant = write(unit, district), alike[strip_diacritics(f"{unit}, {district}")]
        assert names(place) == meant, (unit, district)
        assert place.status == (FOUND if len(meant) == 1 else AMBIGUOUS)
        open_pairs += meant != OLD[unit, district]
    assert open_pairs == 13


def test_every_unit_of_today_is_found_by_name_and_code() -> None:
    counts = Counter(unit.kind for unit in PLACES.units.values())
    assert counts == {"xã": 147, "phường": 19}
    older: defaultdict[str, set[str]] = defaultdict(set)
    for (old, _), new in OLD.items():
        older[old] |= new
    for unit in PLACES.units.values():
        full = lower(unit.full_name)
        expected = {full} | older[full]
        for form in (full, full.upper(), short(full), f"{full}, tỉnh Thanh Hóa", f"{short(full)} - Thanh Hóa"):
            place = PLACES.resolve(form)
            assert names(place) >= expected, form
            assert (place.status is FOUND) == (len(names(place)) == 1), form
            assert PLACES.resolve(form, year=2026).unit == unit, form
        assert PLACES.find(f"Đề nghị UBND {full} sửa đường", year=2026).unit == unit
        assert PLACES.find(strip_diacritics(f"de nghi UBND {full} sua duong").lower(), year=2026).unit in (unit, None)
        assert PLACES.resolve(unit.code).unit == unit


def test_zones() -> None:
    zones = Counter(zone for unit in PLACES.units.values() for zone in unit.zones)
    assert zones == {"mountain": 76, "urban": 19, "border": 16, "nghi_son": 11, "nghi_son_part": 2}
    assert PLACES.resolve("xã Bát Mọt").unit.zones == {"mountain", "border"}  # type: ignore[union-attr]
    assert PLACES.resolve("xã Các Sơn").unit.zones == {"nghi_son"}  # type: ignore[union-attr]
    assert all(unit.kind == "phường" for unit in PLACES.units.values() if "urban" in unit.zones)


@pytest.mark.parametrize(
    ("field", "unit"),
    [
        ("Phường Hạc Thành", "phường Hạc Thành"),
        ("P. Hạc Thành", "phường Hạc Thành"),
        ("hac thanh", "phường Hạc Thành"),
        ("14797", "phường Hạc Thành"),
        (" 14797 ", "phường Hạc Thành"),
        ("xã Hoằng Quang, TP Thanh Hóa", "phường Nguyệt Viên"),
        ("X.Hoằng Quang, Tp.Thanh Hoá", "phường Nguyệt Viên"),
        ("Xã Hoằng Quang, huyện Hoằng Hoá", "phường Nguyệt Viên"),
        ("Hoằng Quang - TP Thanh Hóa", "phường Nguyệt Viên"),
        ("TT Bút Sơn - Hoằng Hóa", "xã Hoằng Hóa"),
        ("bút sơn hoằng hóa", "xã Hoằng Hóa"),
        ("Hoằng Hóa, Bút Sơn", "xã Hoằng Hóa"),
        ("Thị trấn Nưa, Triệu Sơn", "xã Tân Ninh"),
        ("Thọ Xuân, Thọ Xuân", "xã Thọ Xuân"),
        ("Quảng Ninh, Quảng Xương", "xã Quảng Ninh"),
        ("xã Quí Lộc, H. Yên Định", "xã Quý Lộc"),
        ("xã Hải Châu, huyện Tĩnh Gia", "phường Ngọc Sơn"),
        ("thị trấn Tĩnh Gia", "phường Tĩnh Gia"),
        ("thị trấn Rừng Thông, huyện Đông Sơn", "phường Đông Sơn"),
        ("xã Quảng Cát, Quảng Xương", "phường Quảng Phú"),
        ("xã Hạc Thành", "phường Hạc Thành"),
        ("xả Hoằng Lộc", "xã Hoằng Lộc"),
        ("Phường Đông Sơn, TX Bỉm Sơn", "phường Bỉm Sơn"),
        ("xã Tén Tằn, Mường Lát", "xã Mường Lát"),
        ("Nguyệt Viên", "phường Nguyệt Viên"),
        ("Quảng Bình (Thanh Hóa)", "xã Quảng Bình"),
        ("xã\u00a0Hoằng\u200b Lộc", "xã Hoằng Lộc"),
    ],
)
def test_fields(field: str, unit: str) -> None:
    place = PLACES.resolve(field)
    assert place.status is FOUND
    assert names(place) == {unit}


@pytest.mark.parametrize(
    ("field", "candidates"),
    [
        ("phường Đông Sơn", {"phường Hạc Thành", "phường Bỉm Sơn", "phường Đông Sơn"}),
        ("phường Ba Đình", {"phường Hạc Thành", "phường Bỉm Sơn"}),
        ("xã Xuân Lộc", {"xã Hoa Lộc", "xã Thắng Lộc", "xã Thọ Phú"}),
        ("xã Định Hải", {"xã Định Tân", "phường Hải Lĩnh"}),
        ("xã Lam Sơn", {"xã Lam Sơn", "xã Minh Sơn"}),
        ("phường An Hưng", {"phường Hạc Thành", "phường Đông Quang"}),
        ("xã Thiệu Phú, huyện Thiệu Hóa", {"xã Thiệu Hóa", "xã Thiệu Quang", "xã Thiệu Trung"}),
        ("xã Nga Tiến, huyện Hoằng Hóa", {"xã Tân Tiến"}),  # the district contradicts
        ("Quảng Ninh", {"xã Quảng Ninh"}),  # or the province
        ("TP Sầm Sơn", {"phường Sầm Sơn", "phường Nam Sầm Sơn"}),
        ("Sầm Sơn, Thanh Hóa", {"phường Sầm Sơn", "phường Nam Sầm Sơn"}),
        ("xã Hoằng Lộc và Nga An", {"xã Hoằng Lộc", "xã Nga An"}),
    ],
)
def test_what_the_words_leave_open_is_said(field: str, candidates: set[str]) -> None:
    place = PLACES.resolve(field)
    assert place.status is AMBIGUOUS
    assert place.unit is None
    assert names(place) == candidates


@pytest.mark.parametrize(
    "field",
    [
        "",
        "   ",
        "Thanh Hóa",
        "tỉnh Thanh Hoá",
        "Việt Nam",
        "xã Hoàng Quang",  # ≠ Hoằng Quang
        "xã Hoăng Quang",
        "phường Hắc Thành",
        "thôn Quang Trung",
        "hợp tác xã Quang Trung",
        "đường Lam Sơn",
        "99999",
        "xã hội",
        "Hoằng, Quang",
    ],
)
def test_no_place(field: str) -> None:
    assert PLACES.resolve(field) == Place(UNKNOWN)


@pytest.mark.parametrize(
    ("field", "province"),
    [
        ("Nghệ An", "Nghệ An"),
        ("TP.HCM", "Hồ Chí Minh"),
        ("tỉnh Thái Bình", "Hưng Yên"),
        ("xã Minh Sơn, huyện Đô Lương, tỉnh Nghệ An", "Nghệ An"),
        ("xã Quang Trung, huyện Kiến Xương", "Hưng Yên"),
        ("Q. Ba Đình, Hà Nội", "Hà Nội"),
        ("phường Hồng Hải, Hạ Long, Quảng Ninh", "Quảng Ninh"),
        ("thua thien hue", "Huế"),
        ("Vũng Tàu", None),
    ],
)
def test_other_provinces(field: str, province: str | None) -> None:
    place = PLACES.resolve(field)
    if province is None:
        assert place.status is not FOUND
    else:
        assert (place.status, place.province) == (OUTSIDE, province)


def test_the_year_decides_between_old_and_new() -> None:
    for year, expected in [
        (2020, {"phường Hạc Thành", "phường Bỉm Sơn"}),
        (2025, {"phường Hạc Thành", "phường Bỉm Sơn", "phường Đông Sơn"}),
        (None, {"phường Hạc Thành", "phường Bỉm Sơn", "phường Đông Sơn"}),
        (2026, {"phường Đông Sơn"}),
    ]:
        assert names(PLACES.resolve("phường Đông Sơn", year)) == expected
        assert names(PLACES.find("Tôi ở phường Đông Sơn.", year)) == expected
    assert PLACES.resolve("phường Hạc Thành", 2019).status is UNKNOWN
    # With a district that is gone the old one is meant; today, the new ward in the former city may be.
    assert names(PLACES.resolve("phường Đông Sơn, TP Thanh Hóa")) == {"phường Hạc Thành"}
    assert names(PLACES.resolve("phường Đông Sơn, TP Thanh Hóa", 2026)) == {"phường Hạc Thành", "phường Đông Sơn"}
    assert names(PLACES.resolve("phường Đông Sơn, thị xã Bỉm Sơn", 2026)) == {"phường Bỉm Sơn"}


def test_evidence_and_former() -> None:
    place = PLACES.find("Kính gửi UBND TP. Tôi trú tại thôn 4, X.Hoằng Quang, TP Thanh Hoá, xin phản ánh việc đổ rác.")
    assert place.evidence == "X.Hoằng Quang, TP Thanh Hoá"
    assert place.former == "xã Hoằng Quang, thành phố Thanh Hóa"
    assert PLACES.find("Tôi ở phường Nguyệt Viên").former is None
    assert PLACES.resolve("thôn 2, xã Thiệu Phú").former == "xã Thiệu Phú, huyện Thiệu Hóa"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tôi trú tại thôn 5, xã Hoằng Lộc, tỉnh Thanh Hóa.", "xã Hoằng Lộc"),
        ("địa chỉ: số 12 ngõ 4 Lê Lai, phường Đông Hương, TP Thanh Hóa", "phường Hạc Thành"),
        ("e ở p. quảng thắng tp thanh hóa, đèn đường hỏng cả tháng", "phường Đông Quang"),
        ("nha em o xa quang cat tp thanh hoa mat nuoc 3 hom roi", "phường Quảng Phú"),
        ("XÃ NGA THỦY, HUYỆN NGA SƠN: ĐÊ BỊ SẠT", "xã Nga Sơn"),
        ("Bà con bản Suối Thử, xã Trung Lý, huyện Mường Lát thiếu nước sạch", "xã Trung Lý"),
        ("Đề nghị Công an xã Yên Nhân kiểm tra đám bạc", "xã Yên Nhân"),
        ("Trạm y tế phường Tĩnh Gia không có thuốc", "phường Tĩnh Gia"),
        ("Bãi rác ở Hoằng Lộc, Hoằng Hóa bốc mùi", "xã Hoằng Lộc"),
        ("Chợ Bút Sơn thì sạch, còn Hoằng Thắng, Thanh Hóa thì bẩn", "xã Hoằng Châu"),
        ("Kính gửi UBND huyện Triệu Sơn. Tôi ở thôn 3, xã Minh Sơn", "xã Triệu Sơn"),
        ("Huyện Như Xuân, xã Thanh Sơn: cầu treo sắp sập", "xã Thanh Quân"),
        ("Phường An Hưng trước đây, nay là phường Hạc Thành, hay ngập", "phường Hạc Thành"),
        ("Tôi ở xã Hoằng Lộc, họ chở đất sang xã Hoằng Thịnh đổ", "xã Hoằng Lộc"),
        ("đoạn qua xã Các Sơn giáp xã Tân Trường", {"xã Các Sơn", "xã Trường Lâm"}),
        ("Con tôi học ở Hà Nội, gia đình ở xã Thọ Lập", "xã Thọ Lập"),
        ("Người dân xã Tiên Trang kiến nghị về điện", "xã Tiên Trang"),
        ("Lãnh đạo huyện, xã Hoằng Phú chưa trả lời", "xã Hoằng Phú"),
        ("Hợp tác xã Quang Trung thu phí, chúng tôi ở thị trấn Yên Lâm, Yên Định", "xã Quý Lộc"),
        ("tai xa Cam Tu tinh Thanh Hoa co mo da no min", "xã Cẩm Tú"),
        ("Tại Thị trấn Cành Nàng (cũ), huyện Bá Thước", "xã Bá Thước"),
        ("xã Xuân Du thuộc huyện Như Thanh", "xã Xuân Du"),
        ("Tổ dân phố 2 phường Hải Thanh TX Nghi Sơn", "phường Tĩnh Gia"),
        ("Xã Yên Thọ, huyện Như Thanh hay mất điện", {"xã Như Thanh", "xã Yên Thọ"}),
        ("Tôi có đất tại xã Nga An và tại xã Nga Thắng", {"xã Nga An", "xã Nga Thắng"}),
        ("Hai xã Quảng Bình và Quảng Ngọc tranh chấp", {"xã Quảng Bình", "xã Quảng Ngọc"}),
        ("Người dân phường Lam Sơn phản ánh", {"phường Hạc Thành", "phường Bỉm Sơn"}),
        ("Đường ở huyện Mường Lát sạt lở", "8 units"),
        ("Tôi tên là Lê Quang Trung, thành công hay thống nhất cũng phải có người đứng ra", None),
        ("Công ty Thành Công nợ lương, cửa hàng Thống Nhất bán hàng giả", None),
        ("Trường Lam Sơn thu tiền trái quy định", None),
        ("Đường Quang Trung ngập, đường Nguyệt Viên tối om", None),
        ("tệ nạn xã hội, vệ sinh xã hội", None),
        ("Gói cước x 2 lần, p 3, tt nghỉ mát", None),
        ("Tỉnh Thanh Hóa cần có chính sách cho giáo viên", None),
        ("nhà cách trường rất xa Tam Thanh ơi", None),
        ("quận Ba Đình thì khác, phường này cũng thế", "Hà Nội"),
        ("Tôi ở huyện Quỳnh Lưu, tỉnh Nghệ An bị lừa tiền", "Nghệ An"),
        ("Xe khách Thanh Hóa - Hà Nội nhồi khách", None),
        ("Tôi đi Hà Nội chữa bệnh, bảo hiểm không trả", None),
        ("Chủ thầu ở Bắc Ninh nợ lương tổ chúng tôi", None),
        ("Cử tri phường Bỉm Sơn thống nhất cao", "phường Bỉm Sơn"),
        ("Nước sông đoạn qua các xã Ngọc Lặc, Thọ Xuân đen ngòm", {"xã Ngọc Lặc", "xã Thọ Xuân"}),
        ("Các thôn ven Sông Mã thuộc xã Định Tân", "xã Định Tân"),
        ("Các phố Nam Sơn, Thọ Xuân của phường Nam Sầm Sơn", "phường Nam Sầm Sơn"),
        ("Bãi rác xã Hoằng Lộc cháy khét, khói bay sang xã Hoằng Thịnh", "xã Hoằng Lộc"),
        ("Thanh Hóa quê tôi rộng hơn nhiều so với tỉnh Thái Bình", None),
        ("Tôi đang sống tại Bình Dương, hỏi về bảo hiểm thất nghiệp", "Hồ Chí Minh"),
        ("Mong đất nước hòa bình, thái bình, ai cũng phú thọ", None),
        ("Xã Quang Trung, huyện Thống Nhất, tỉnh Đồng Nai", "Đồng Nai"),
        ("Phường Hồng Hải, thành phố Hạ Long", "Quảng Ninh"),
        ("", None),
    ],
)
def test_sentences(text: str, expected: str | set[str] | None) -> None:
    place = PLACES.find(text)
    if expected is None:
        assert place.status is UNKNOWN
    elif isinstance(expected, set):
        assert (place.status, names(place)) == (AMBIGUOUS, expected)
    elif expected == "8 units":
        assert (place.status, len(place.candidates)) == (AMBIGUOUS, 8)
    elif expected.startswith(("xã", "phường")):
        assert (place.status, names(place)) == (FOUND, {expected})
    else:
        assert (place.status, place.province) == (OUTSIDE, expected)
    if place.status is not UNKNOWN:
        assert place.evidence in text


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=8),
            st.sampled_from(
                [
                    "xã",
                    "phường",
                    "thị",
                    "trấn",
                    "TX",
                    "TP.",
                    "X.",
                    "P.",
                    "huyện",
                    "tỉnh",
                    "Thanh",
                    "Hóa",
                    "Hoằng",
                    "Quang",
                    "Đông",
                    "Sơn",
                    "Hà",
                    "Nội",
                    "và",
                    ",",
                    "-",
                    "14797",
                ]
            ),
        ),
        max_size=12,
    ),
    st.sampled_from([None, 2019, 2025, 2026]),
)
def test_any_text_has_an_answer(parts: list[str], year: int | None) -> None:
    text = " ".join(parts)
    for place in (PLACES.resolve(text, year), PLACES.find(text, year)):
        assert (place.unit is not None) == (place.status is FOUND)
        assert bool(place.candidates) == (place.status is AMBIGUOUS)
        assert place.province is None or place.status is OUTSIDE


def test_a_long_petition_takes_no_time() -> None:
    text = "Tôi trú tại xã Minh Sơn. " + "Đường thôn bị xe tải cày nát, mưa xuống lầy lội, trẻ đi học rất khổ. " * 20
    times = []
    for _ in range(20):
        start = time.perf_counter()
        PLACES.find(text)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005  # some 0.4 ms where it was written; a busy machine may take ten times as long


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("units:", "unit:"), "needs version, units"),
        (("unit: phường Hàm Rồng", "unit: Hàm Rồng"), "'14758'.*no kind"),
        (('"14758"', '"1475"'), "'1475'.*five digits"),
        (("xã Thạch Đồng: xã Thạch Long", "xã Thạch Đồng: xã Thạch Lông"), "Thạch Đồng"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(SHIPPED.read_text(encoding="utf-8").replace(*change, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_gazetteer(path)


def test_the_data_are_named() -> None:
    places: Gazetteer = load_gazetteer(SHIPPED)
    assert places.version == "2025-07-01"
    assert len(places.sha256) == 64
