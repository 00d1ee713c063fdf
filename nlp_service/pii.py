"""Personal data in a petition: where it is, and the same text without it. Pure functions over regular expressions.

Numbers are told by their shape and by the words before them, names and house numbers by the words around them. What is
public by nature is left alone: document and parcel numbers, hotlines, roads and temples that carry a person's name.
Every pattern is bounded, so that the time grows with the text's length and no faster.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from nlp_service.text import strip_diacritics


class Kind(StrEnum):
    """What a piece of text gives away."""

    CITIZEN_ID = "citizen_id"
    PHONE = "phone"
    EMAIL = "email"
    PLATE = "plate"
    BANK_ACCOUNT = "bank_account"
    PASSPORT = "passport"
    NAME = "name"
    ADDRESS = "address"


TOKENS = {
    Kind.CITIZEN_ID: "[SỐ ĐỊNH DANH]",
    Kind.PHONE: "[SỐ ĐIỆN THOẠI]",
    Kind.EMAIL: "[E-MAIL]",
    Kind.PLATE: "[BIỂN SỐ]",
    Kind.BANK_ACCOUNT: "[SỐ TÀI KHOẢN]",
    Kind.PASSPORT: "[SỐ HỘ CHIẾU]",
    Kind.NAME: "[HỌ TÊN]",
    Kind.ADDRESS: "[ĐỊA CHỈ]",
}
"""What `mask` writes instead."""


@dataclass(frozen=True)
class Found:
    """One piece of personal data: `text[start:end]` of the text as given."""

    kind: Kind
    start: int
    end: int


def find(text: str) -> list[Found]:
    """Personal data in reading order, not overlapping; of two that overlap the surer one, then the longer one, stays.

    Reads any case, with or without diacritics, composed or decomposed (NFC, NFD). The tokens of `mask` are opaque.
    """
    composed, offsets = _compose(text)
    # A token's own words ("SỐ TÀI KHOẢN") must not make the number after it an account.
    composed = _TOKEN.sub(lambda match: "\ufffc" * len(match.group()), composed)
    low = composed.replace("İ", "I").lower()  # the one letter whose lower case is longer
    candidates = [*_names(composed, low)]
    if _DIGIT.search(low):
        candidates += [*_numbers(composed, low), *_addresses(composed, low)]
    candidates += _emails(composed)
    candidates.sort(key=lambda found: (_SUREST.index(found.kind), found.start - found.end, found.start))
    taken = bytearray(len(composed))
    kept = []
    for found in candidates:
        if not any(taken[found.start : found.end]):
            taken[found.start : found.end] = b"\1" * (found.end - found.start)
            kept.append(Found(found.kind, offsets[found.start], offsets[found.end]) if offsets else found)
    return sorted(kept, key=lambda found: found.start)


def mask(text: str) -> str:
    """The text with a token for every piece of personal data; a masked text stays as it is."""
    while everything := find(text):  # again, since what overlapped a masked piece may stand alone now
        parts = []
        end = 0
        for found in everything:
            parts += [text[end : found.start], TOKENS[found.kind]]
            end = found.end
        text = "".join([*parts, text[end:]])
    return text


# The kind in whose favour an overlap is decided comes first: words before a number say more than its shape, and a house
# on a road that carries a person's name is an address.
_SUREST = (
    Kind.EMAIL,
    Kind.PASSPORT,
    Kind.CITIZEN_ID,
    Kind.BANK_ACCOUNT,
    Kind.PLATE,
    Kind.PHONE,
    Kind.ADDRESS,
    Kind.NAME,
)
_TOKEN = re.compile("|".join(re.escape(token) for token in TOKENS.values()))


def _compose(text: str) -> tuple[str, list[int]]:
    """NFC, and for every character of it (and its end) the offset in `text`; no offsets if nothing moved."""
    if unicodedata.is_normalized("NFC", text):
        return text, []
    composed: list[str] = []
    offsets: list[int] = []
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or not unicodedata.combining(text[end]):
            letters = unicodedata.normalize("NFC", text[start:end])
            composed.append(letters)
            offsets += [start] * len(letters)
            start = end
    return "".join(composed), [*offsets, len(text)]


def _any(phrases: str) -> str:
    """Alternatives divided by "|", every word also without its diacritics, longest first."""

    def word(text: str) -> str:
        bare = strip_diacritics(text)
        return re.escape(text) if bare == text else f"(?:{text}|{bare})"

    longest_first = sorted((phrase.split() for phrase in phrases.split("|")), key=lambda words: -len(" ".join(words)))
    return "(?:" + "|".join(r"\s+".join(map(word, words)) for words in longest_first) + ")"


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# ---------------------------------------------------------------------------------------------------------- numbers

_MONEY = re.compile(r"\s?(?:(?:đồng|đ|dong|vn[đd]|triệu|trieu|nghìn|nghin|usd|m2)(?!\w)|%)")
_DOCUMENT = re.compile(
    r"(?<!\w)(?:"
    + _any(
        "mã hồ sơ|mã số hồ sơ|mã khách hàng|mã kh|mã đơn|mã vận đơn|mã giao dịch|mã tra cứu|mã số thuế|mst"
        "|mã số bảo hiểm"
    )
    + r"(?:\s+[^\W\d_]{1,8}){0,3}|"
    + _any(
        "hồ sơ|hóa đơn|hoá đơn|biên lai|biên bản|quyết định|công văn|hợp đồng|công tơ|bảo hiểm|bhxh|bhyt|seri|serial"
        "|vào sổ|phiếu|giấy chứng nhận|văn bản|nghị quyết|nghị định"
    )
    + r"(?:(?:\s+[^\W\d_]{1,8}){0,3}\s+(?:số|so))?|thửa(?:\s+số)?|tờ(?:\s+số)?)\s{0,2}:?\s{0,2}$"
)
_DATE = re.compile(
    r"(?:0?[1-9]|[12]\d|3[01])\D{1,3}(?:0?[1-9]|1[0-2])\D{1,3}(?:19|20)\d\d|(?:19|20)\d\d\D(?:19|20)\d\d"
)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[. ]000)+|[1-9]\d{0,2}(?:\.\d{3})+")

_DIGIT = re.compile(r"\d")
_EMAIL_END = re.compile(r"@(?:[A-Za-z0-9\-]{1,63}\.){1,5}[A-Za-z]{2,24}")
_EMAIL_START = re.compile(r"[A-Za-z0-9._%+\-]{1,64}\Z")

_ID = re.compile(r"(?<!\w)(?<!\d[.,\-])\d(?:[ .\-]?\d){8}(?:(?:[ .\-]?\d){3})?(?!\d|[.,\-]\d)")
_ID_GROUPS = re.compile(r"\d{12}|\d{3}([ .\-])\d{3}\1\d{3}\1\d{3}|\d{4}([ .\-])\d{4}\2\d{4}")
_ID_WORDS = re.compile(
    r"(?<!\w)"
    + _any(
        "cccd|cmnd|cmtnd|cmt|căn cước|định danh|chứng minh nhân dân|chứng minh thư|chứng minh thư nhân dân|chứng minh"
        "|số chứng minh|cc số|giấy cm|số cc"
    )
    + r"[^\d;!?]{0,45}$"
)

_GAP = r"[ .\-–)]{0,3}"
# Mobile numbers (also the 11 digits of before 2018), and fixed lines: an area code and 11 digits in all.
_PHONE = re.compile(
    r"(?=[+(08])(?:(?<!\w)|(?<=[dđDĐ][tT])|(?<=alo))(?<!\d[.,\-])"
    rf"(?:(?:\(?\+?84|0084){_GAP}(?:\(0\) ?|0)?|\(?0){_GAP}"
    rf"(?:[35789](?:{_GAP}\d){{8}}|1{_GAP}[2689](?:{_GAP}\d){{8}}|2(?:{_GAP}\d){{9}})(?!\d)"
)

_PLATE = re.compile(
    r"(?<![\w.,/])[1-9]\d(?:[ \-.]?(?:[A-ZĐ]{1,2}\d?|[a-zđ]{1,2}\d?)| ?- ?[A-ZĐ]{1,2}\d?)"
    r"(?: ?[\-.–] ?| )?(?:\d{3}[. ]?\d{2}|\d{4})(?!\w|[.,\-]\d)"
)
_SURE_PLATE = re.compile(r"\d\d[ \-.]?[A-ZĐ]{1,2}\d?[ \-.–]{0,3}\d{3}[. ]?\d\d")
_MILITARY_PLATE = re.compile(r"(?<![\w\-])[ABHKPQTV][A-Z][ \-]{0,3}\d\d[ \-.]{1,3}\d\d(?!\w|[.,\-]\d)")
_VEHICLE_WORDS = re.compile(
    r"(?<!\w)" + _any("biển|biển số|biển kiểm soát|bks|bsx|xe|ô tô|oto|mô tô|chiếc") + r"(?!\w)[^;!?]{0,50}$"
)

_BANKS = (
    "vietcombank|vcb|agribank|vietinbank|viettinbank|bidv|techcombank|mb|mbbank|sacombank|acb|vpbank|tpbank|shb|hdbank"
    "|vib|lpbank|lienvietpostbank|msb|ocb|seabank|ncb|abbank|pvcombank|eximbank|scb|bắc á|nam á|kienlongbank|momo"
)
_ACCOUNT = r"(\d\d(?:[ .\-]?\d){4,17})(?!\d|[.,/]\d|[ .\-]\d)"
_AFTER_ACCOUNT_WORD = re.compile(
    r"(?<!\w)"
    + _any("stk|số tài khoản|số tk|tài khoản|tk|account|ngân hàng|" + _BANKS)
    + r"(?!\w)([^\d!?;]{0,45}?)"
    + _ACCOUNT
)
_BEFORE_BANK = re.compile(
    r"(?<!\w)(?<!\d[.,\-])\d(?:[ .\-]?\d){7,18}(?=[ ,(\-–]{1,3}(?:"
    + _any("mở|tại|ở|của")
    + r"\s+){0,2}"
    + _any("ngân hàng|" + _BANKS)
    + r"(?!\w))"
)
_NO_ACCOUNT = re.compile(
    r"(?<!\w)"
    + _any(
        "định danh|căn cước|vneid|cccd|cmnd|điện thoại|sđt|đt|zalo|facebook|liên hệ|gọi|số máy|hồ sơ|quyết định"
        "|công văn|thửa|biển|hộ chiếu|mã khách hàng|số tiền|tổng|hotline|tổng đài|lỗi"
    )
    + r"(?!\w)"
)
_PASSPORT = re.compile(_any("hộ chiếu|passport") + r"[^\d;!?]{0,30}?(?<!\w)([a-z]\d{7,8})(?!\w)")


def _emails(text: str) -> Iterator[Found]:
    for match in _EMAIL_END.finditer(text):
        if start := _EMAIL_START.search(text, max(0, match.start() - 64), match.start()):
            yield Found(Kind.EMAIL, start.start(), match.end())


def _numbers(text: str, low: str) -> Iterator[Found]:
    for match in _PASSPORT.finditer(low):
        yield Found(Kind.PASSPORT, *match.span(1))
    for match in _ID.finditer(low):
        if _is_id(match, low):
            yield Found(Kind.CITIZEN_ID, *match.span())
    for match in _PHONE.finditer(text):
        if not _DATE.match(match.group()) and not _before(_DOCUMENT, low, match.start()):
            yield Found(Kind.PHONE, *match.span())
    for match in _PLATE.finditer(text):
        if _SURE_PLATE.fullmatch(match.group()) or _before(_VEHICLE_WORDS, low, match.start()):
            yield Found(Kind.PLATE, *match.span())
    for match in _MILITARY_PLATE.finditer(text):
        if _before(_VEHICLE_WORDS, low, match.start()):
            yield Found(Kind.PLATE, *match.span())
    for match in _AFTER_ACCOUNT_WORD.finditer(low):
        if not _NO_ACCOUNT.search(match.group(1)) and _may_be_account(low, *match.span(2)):
            yield Found(Kind.BANK_ACCOUNT, *match.span(2))
    for match in _BEFORE_BANK.finditer(low):
        if _may_be_account(low, *match.span()):
            yield Found(Kind.BANK_ACCOUNT, *match.span())


def _before(pattern: re.Pattern[str], low: str, start: int) -> bool:
    return pattern.search(low, max(0, start - 70), start) is not None


def _is_id(match: re.Match[str], low: str) -> bool:
    if _before(_ID_WORDS, low, match.start()):
        return True
    # Nine digits could be anything. Circular 59/2021/TT-BCA: three digits of the province (001-096), one of century and
    # sex, two of the year of birth, six by chance.
    return (
        1 <= int(re.sub(r"\D", "", match.group())[:3]) <= 96
        and _ID_GROUPS.fullmatch(match.group()) is not None
        and not _before(_DOCUMENT, low, match.start())
    )


def _may_be_account(low: str, start: int, end: int) -> bool:
    number = low[start:end]
    return not (_MONEY.match(low, end) or _DATE.match(number) or _THOUSANDS.fullmatch(number))


# ------------------------------------------------------------------------------------------------ capitalised words

_UPPER = "A-ZÀÁẢÃẠĂẰẮẲẴẶÂẦẤẨẪẬÈÉẺẼẸÊỀẾỂỄỆÌÍỈĨỊÒÓỎÕỌÔỒỐỔỖỘƠỜỚỞỠỢÙÚỦŨỤƯỪỨỬỮỰỲÝỶỸỴĐ"
_SYLLABLE = re.compile(r"[^\W\d_]{1,8}(?!\w)")
_BLANKS = re.compile(r"[ \t]{1,3}")


def _syllables(text: str, start: int, most: int) -> list[tuple[int, int]]:
    """Up to `most` syllables from `start` on, divided by blanks alone."""
    spans: list[tuple[int, int]] = []
    while len(spans) < most and (match := _SYLLABLE.match(text, start)):
        spans.append(match.span())
        blank = _BLANKS.match(text, match.end())
        if not blank:
            break
        start = blank.end()
    return spans


# -------------------------------------------------------------------------------------------------------- addresses

_HOUSE = r"\d{1,4}[a-z]?(?:/\d{1,4}[a-z]?){0,4}(?![\w/]|[.,]\d|-\w)"
_LANE = _any("ngõ|ngách|hẻm|kiệt")
_SEPARATOR = r"\s{0,2},?\s{1,2}"
_HOUSE_NUMBER = re.compile(
    rf"(?<!\w)(?:{_LANE}\s+{_HOUSE}{_SEPARATOR}){{0,2}}(?:{_any('số nhà|nhà số')}|(?P<short>s/?n))[\s:.]{{1,3}}"
    rf"{_HOUSE}(?:{_SEPARATOR}(?:(?:và|va)\s+)?{_HOUSE}){{0,3}}"
)
_NUMBER = re.compile(rf"(?<!\w)(?:số|so)\s+{_HOUSE}(?={_SEPARATOR}(?:{_LANE}|{_any('đường|phố|đại lộ')})\s)")
_NUMBERED_THING = re.compile(
    _any(
        "cột|cột điện|điện|trạm|biến áp|hố ga|buýt|xe|tuyến|lô|cọc|chốt|ki ốt|thửa|tờ|cầu|cống|đội|trường|chợ|định|văn"
        "|quyết|thông tư|máy|cổng|đơn|luật|khu|tổ"
    )
    + r"\s+$"
)
_BARE_NUMBER = re.compile(
    r"(?<!\w)"
    + _any("địa chỉ|địa chỉ liên hệ|ở|tại|trú tại|ở trọ|nhà|nhà riêng|đ/c")
    + rf"\s{{0,2}}:?\s{{1,2}}({_HOUSE})"
)
_FLAT = re.compile(
    r"(?<!\w)" + _any("căn hộ|phòng|căn hộ số|phòng số") + rf"\s+[a-z]?{_HOUSE}{_SEPARATOR}"
    rf"(?:{_any('tòa nhà|tòa|toà|toà nhà|nhà|block|chung cư')})\s+(?:[a-z]{{0,3}}\d{{1,3}}[a-z]?|[a-z])(?!\w)"
)
_LANE_PART = re.compile(rf"{_SEPARATOR}{_LANE}\s+{_HOUSE}")
_ROAD_PART = re.compile(rf"{_SEPARATOR}(?:{_LANE}|{_any('đường|phố|đại lộ|khu phố')})\s+(?:(?:số|so)\s+)?(?=[^\W_])")
_ROAD_NUMBER = re.compile(r"\d{1,4}[A-Za-z]?(?!\w)")
_SCHOOL = re.compile(_any("trường") + r"\s+" + _any("thpt|thcs|th|tiểu|mầm|đại|cao|trung|mẫu|dạy") + r"(?!\w)")
_TITLE_CASE = re.compile(rf"[{_UPPER}][^\W\d_]{{0,7}}(?!\w)")
_ROAD_END = _set("thôn xã phường quận huyện tỉnh tp thị")
_NO_ROAD = _set(
    "tôi nhà em trạm chi bệnh ủy uỷ hội đội công doanh dự khu bản tổ cơ đơn sở phòng ban ubnd vào ra đi lên xuống"
    " này đó liên làng thôn xã bê đất nhựa trong từ qua bị đang chính quốc tỉnh huyện mới cũ có không là và của dân"
    " vao lang thon xa dat nhua qua bi dang chinh quoc tinh moi cu co khong la va cua dan"
)


def _addresses(text: str, low: str) -> Iterator[Found]:
    for match in _HOUSE_NUMBER.finditer(low):
        end = _road_end(text, low, match.end())
        if end > match.end() or not match["short"] or "/" in match.group()[2:]:  # "SN 1987" is a year of birth
            yield Found(Kind.ADDRESS, match.start(), end)
    for match in _NUMBER.finditer(low):
        end = _road_end(text, low, match.end())
        if end > match.end() and not _before(_NUMBERED_THING, low, match.start()):
            yield Found(Kind.ADDRESS, match.start(), end)
    for match in _BARE_NUMBER.finditer(low):
        end = _road_end(text, low, match.end())
        if end > match.end():
            yield Found(Kind.ADDRESS, match.start(1), end)
    for match in _FLAT.finditer(low):
        yield Found(Kind.ADDRESS, *match.span())


def _road_end(text: str, low: str, end: int) -> int:
    """Where the lanes and the road that follow a house number end."""
    for _ in range(3):
        lane = _LANE_PART.match(low, end)
        if not lane:
            break
        end = lane.end()
    road = _ROAD_PART.match(low, end)
    start = road.end() if road else end + 1
    if road and (number := _ROAD_NUMBER.match(text, start)):
        return number.end()
    spans = _syllables(text, start, 5)
    words = [low[a:b] for a, b in spans]
    proper = 0
    while proper < len(spans) and _TITLE_CASE.match(text, spans[proper][0]) and words[proper] not in _ROAD_END:
        proper += 1
    if road and proper:
        return spans[proper - 1][1]
    if proper > 1 and low[end : end + 1] == " " and words[0] not in _NO_ROAD and not _SCHOOL.match(low, start):
        return spans[proper - 1][1]
    if road and len(words) > 1 and not _NO_ROAD.intersection(words[:2]) and (text == low or words[0] in _SURNAMES):
        return spans[1][1]  # "đường lê lai": roads have two syllables as a rule
    return end


# ------------------------------------------------------------------------------------------------------------ names

_SURNAMES = _set(
    "nguyễn trần lê phạm hoàng huỳnh phan vũ võ đặng bùi đỗ hồ ngô dương lý cao chu đào đinh đoàn hà hứa kiều la lâm"
    " lương lưu mạc mai nghiêm nông phùng quách tạ thái thân tô tôn tống trịnh triệu trương từ vi viên vương lò lường"
    " lữ ngân cầm thao thào giàng sùng vàng mùa phàng lâu hơ hạng tào thiều tiêu tăng doãn đàm đồng đậu khương khúc"
    " khổng lại lã lục mã nhữ ninh sầm thạch trình uông bạch bàng cấn châu cù cung diệp giang giáp hầu hàn kim lộc lô"
    " tòng phí văn trưng hồng thịnh đới lang"
)
_BARE_SURNAMES = frozenset(map(strip_diacritics, _SURNAMES))
_COMMON_SURNAMES = _set(
    "nguyễn trần lê phạm hoàng huỳnh phan vũ võ đặng bùi đỗ ngô dương đinh trịnh trương nguyen tran pham hoang huynh"
    " trinh"
)
_MIDDLE = _set("văn thị")
_BARE_MIDDLE = _set("van thi")
_SAINTS = _set("công lang triệu hồ")
_TITLES = "ông|bà|anh|chị|cô|chú|bác|cụ|em|cháu|cậu|dì|thím|mợ|thầy|cô giáo|thầy giáo|bác sĩ|đồng chí|luật sư|vợ chồng"
# Words that end a name even in capitals: an office, a body, a place, the rest of the sentence.
_NO_NAME = _set(
    "chủ bí phó giám chánh viện cục sở phòng ban ubnd hđnd mttq đảng cán cựu thôn xã phường huyện tỉnh tổ xóm khu phố"
    " ông bà chị người số sđt đt cccd cmnd cmt stk tk email zalo ngày nơi địa quê thường hiện ở tại trú là xin kính và"
    " cùng với của bị đã đang không có được để đến từ tôi chúng ký đề theo trong trên nhà hội đội trạm nhóm tập các"
    " những một"
)
# And words that do so in lower case, or begin none: other titles, a temple's saints.
_NAME_END = _NO_NAME | _set(
    "trưởng bộ bản thành anh cô chú bác cụ em cháu cậu sinh năm nội nay trời táo bụt phật thánh mẫu chúa thần triệu học"
    " làm chu tich thon xa phuong huyen tinh xom nguoi so sdt dt sinh ngay noi dia que thuong hien tru la xin kinh va"
    " cung voi cua bi da dang khong co duoc de den toi chung nha o nay hoc lan"
)
_ROLES = (
    "chủ tịch|phó chủ tịch|bí thư|phó bí thư|trưởng thôn|trưởng bản|phó thôn|trưởng khu|tổ trưởng|trưởng phòng"
    "|trưởng công an|giám đốc|phó giám đốc|hiệu trưởng|hiệu phó|cán bộ|công chức|kế toán|thủ quỹ|thư ký|công an viên"
    "|công an xã|cảnh sát|giáo viên|cô giáo|thầy giáo|bác sĩ|y sĩ|y tá|điều dưỡng|luật sư|lái xe|tài xế|bảo vệ|hàng xóm"
    "|chủ nợ|con nợ|chủ hộ|chủ trọ|chủ quán|bị đơn|nguyên đơn|đồng chí|đảng viên|đại diện|thanh tra viên|kiểm lâm viên"
    "|đại úy|thiếu tá|trung tá|thượng tá|trung úy|thượng úy|nạn nhân|bệnh nhân|liệt sĩ|thương binh|vợ|chồng|con trai"
    "|con gái|bố|mẹ|anh trai|em trai|chị gái|em gái"
)
_OFFICES = re.compile(
    _any(
        "sinh năm|sinh ngày|trưởng thôn|trưởng bản|trưởng phòng|trưởng khu|công an|công nhân|công chức|công chứng"
        "|công ty|công dân|công tác|cảnh sát|bưu tá|bưu điện|giáo viên|thanh tra|thanh niên|trung tá|trung úy"
        "|trung tâm|đại tá|đại úy|đại biểu|đại diện|thượng tá|thượng úy|thiếu tá|thiếu úy|bảo vệ|hội trưởng|hội nông"
        "|hội phụ|kiểm lâm|kiểm sát|kiểm soát|đội trưởng|quản lý|quản giáo|hiệu trưởng|hiệu phó|kế toán|thủ quỹ"
        "|thủ trưởng|thủ tướng|thư ký|dân quân|dân phòng|y tá|y sĩ|bác sĩ|lái xe|phụ huynh|phụ trách|tài xế|bảo mẫu"
        "|điều tra|điều dưỡng|địa chính|hàng xóm|nông dân|lãnh đạo|nhà báo|nhà nước|học sinh|sinh viên|tổng giám"
        "|tổng biên|tổ quốc|ủy ban|uỷ ban|mặt trận|ích khiêm|phật giáo|công giáo|tập thể|nhân dân|nhân viên|thân nhân"
        "|thân chủ|dân tộc|thanh hóa|thanh hoá|việt nam|hà nội|hà trung|hồ chí|đoàn thanh|đoàn kiểm|đoàn thể"
        "|đoàn viên|văn phòng|từ khi|văn hóa|lại còn|bạch đằng|chi cục|chi nhánh|chi bộ|chi hội|cục trưởng|hồng kông"
        "|hàn quốc|nhật bản|đài loan|trung quốc|đối với"
    )
    + r"(?!\w)"
)
# Roads, schools and parks named after them; without a word that says a person is meant they are places.
_HISTORIC_NAMES = (
    "bùi thị xuân, bùi xuân phái, chu văn an, cao bá quát, dương đình nghệ, đào duy anh, đào duy từ, đặng thai "
    "mai, đặng thái thân, đặng thùy trâm, đinh bộ lĩnh, đinh công tráng, đinh tiên hoàng, đoàn thị điểm, hàn mặc "
    "tử, hồ chí minh, hồ tùng mậu, hồ xuân hương, hoàng đình ái, hoàng hoa thám, hoàng quốc việt, hoàng văn thụ, "
    "huyền trân công chúa, huỳnh thúc kháng, lạc long quân, lê đại hành, lê đức thọ, lê hồng phong, lê hữu lập, "
    "lê ngọc hân, lê quý đôn, lê thái tổ, lê thanh nghị, lê thánh tông, lê thánh tôn, lê thị hồng gấm, lê thị "
    "riêng, lê trọng tấn, lê văn duyệt, lê văn hưu, lê văn linh, lê văn lương, lê văn sỹ, lê văn tám, lương đình "
    "của, lương thế vinh, lý nam đế, lý thái tổ, lý thường kiệt, lý tự trọng, mai an tiêm, mai hắc đế, mai xuân "
    "thưởng, ngô gia tự, ngô thì nhậm, nguyễn bỉnh khiêm, nguyễn chí thanh, nguyễn công trứ, nguyễn cơ thạch, "
    "nguyễn đình chiểu, nguyễn đình thi, nguyễn đức cảnh, nguyễn du, nguyễn duy trinh, nguyễn gia thiều, nguyễn "
    "hữu huân, nguyễn huy tự, nguyễn khánh toàn, nguyễn lương bằng, nguyễn mộng tuân, nguyễn ngọc vũ, nguyễn "
    "phong sắc, nguyễn sinh cung, nguyễn sinh sắc, nguyễn thái học, nguyễn thị định, nguyễn thị duệ, nguyễn thị "
    "lợi, nguyễn thị minh khai, nguyễn thị thập, nguyễn tri phương, nguyễn trường tộ, nguyễn văn bé, nguyễn văn "
    "cừ, nguyễn văn huyên, nguyễn văn linh, nguyễn văn tạo, nguyễn văn trỗi, phạm hồng thái, phạm ngọc thạch, "
    "phạm ngũ lão, phạm văn đồng, phan bội châu, phan châu trinh, phan chu trinh, phan đăng lưu, phan đình giót, "
    "phan đình phùng, tô hiến thành, tô hiệu, tô vĩnh diện, tôn đức thắng, tôn thất tùng, trần bình trọng, trần "
    "cao vân, trần đại nghĩa, trần hưng đạo, trần khánh dư, trần khát chân, trần nguyên hãn, trần nhật duật, trần "
    "quang diệu, trần quang khải, trần quốc toản, trần văn ơn, triệu quang phục, triệu quốc đạt, triệu thị trinh, "
    "trương hán siêu, võ chí công, võ nguyên giáp, võ thị sáu, võ văn kiệt, võ văn tần"
)
_HISTORIC = frozenset(_HISTORIC_NAMES.split(", "))
_PLACE_WORDS = (
    "đường|phố|chùa|đền|miếu|phủ|chợ|cầu|núi|sông|đình|hồ|dốc|bến|đò|đồng|cánh đồng|hang|suối|thác|kênh|mương|đập"
    "|trường|thpt|thcs|tiểu học|mầm non|phường|xã|huyện|tỉnh|thôn|làng|bản|lễ hội|hội|tượng|tượng đài|ngã tư|ngã ba"
    "|công ty|tnhh|cổ phần|siêu thị|tp|thành phố|thị xã|nhà hàng|khách sạn|công viên|quảng trường|đại lộ|khu|hai"
    "|đảo|bãi|giếng|cây|gò|nhà thờ|mộ|lăng|cửa hàng|tập đoàn|giải|quỹ"
)
_PLACE_BEFORE = re.compile(r"(?<!\w)" + _any(_PLACE_WORDS) + r"\s+$")
_HOLY_PLACE_BEFORE = re.compile(
    r"(?<!\w)" + _any("chùa|đền|miếu|phủ|đình|lễ hội|tượng|tượng đài|hai|đường|phố") + r"\s+$"
)
_LINE_BEFORE = re.compile(r"\n[ \t]*$")
_NUMBER_BEFORE = re.compile(r"\d[\w/\-]{0,8}[ \t]+$")
_ROLE_BEFORE = re.compile(
    r"(?<!\w)(?:" + _any(_ROLES) + r"(?:\s+[^\W\d_]{1,8}){0,3}|" + _any("là|của|do|cho|với|gồm") + r")"
    r"\s{0,2}[:,(\-–]?\s{0,2}$"
)
_SIBLINGS_BEFORE = re.compile(r"(?<!\w)" + _any("anh|chị") + r"\s+$")

_PERSON = _any("tôi|em|cháu|con|mình|chúng tôi")
_APPLICANT = (
    _any("họ và tên|họ tên|họ, tên|chủ tài khoản|chủ tk|chủ thẻ|chủ hộ|bị đơn|nguyên đơn")
    + "|"
    + _any("người")
    + r"\s+"
    + _any(
        "làm đơn|viết đơn|gửi|gửi đơn|có đơn|khiếu nại|tố cáo|bị tố cáo|bị khiếu nại|kiến nghị|phản ánh|đề nghị|yêu cầu"
        "|đại diện|nhận|ký|ký tên|khai|thụ hưởng|được ủy quyền|liên hệ|hưởng|đứng đơn|trình bày|viết"
    )
)
_SIGNED = r"\s{0,2}:?(?:\s{0,2}\([^()\n]{0,40}\)){0,2}(?:\s{1,2}" + _any("đã ký|ký tên|ký") + r")?\s{0,3}"
_LEAD = re.compile(
    r"(?<!\w)(?:"
    # One who says so of himself or of kin: a name, and may be a given name alone.
    rf"(?P<called>(?:{_PERSON}\s+)?{_any('tên')}(?:\s+{_PERSON})?(?:\s+(?:là|la))?\s{{0,2}}:?\s{{1,2}})"
    rf"|(?P<applicant>(?:{_APPLICANT})(?:\s+{_any('người')}\s+\w{{1,8}}\s+\w{{1,8}})?{_SIGNED}"
    rf"(?:(?:là|la|tên|ten)\s+)?[:,.\-–]{{0,3}}\s{{0,3}})"
    rf"|(?P<being>{_PERSON}(?:\s+(?:là|la)\s{{1,2}}:?|[,:]\s))"
    rf"|(?P<thanks>{_any('cảm ơn|cám ơn|trân trọng|kính đơn')}[.,!]{{1,3}}\s{{1,3}})"
    rf"|(?P<title>{_any(_TITLES)})(?:\s?/\s?{_any('bà|chị')}|\s?\({_any('bà|chị')}\))?\s{{0,2}}:?\s{{1,2}}"
    r")"
)
_AND = re.compile(r"(?:\s{0,2}[,;]\s{1,2}|\s{1,2}(?:và|va|cùng|với)\s{1,2})(?:\d{1,2}[.)]\s{1,2})?")
_CAPITALISED = re.compile(rf"[{_UPPER}](?<![\w.@].)[^\W\d_]{{0,7}}(?=\s)")
_ENDS_LINE = re.compile(r"[ \t]{0,3}[.,;]?[ \t]{0,3}(?:\n|\Z)")


@dataclass(frozen=True)
class _Name:
    """A reading of a name.

    Attributes:
        words: in lower case.
        family: it begins with a family name.
        proper: its capitals are evidence.
        full: the middle name most people have follows the family name: sure whatever stands before it.
    """

    end: int
    words: tuple[str, ...]
    family: bool
    proper: bool
    full: bool

    @property
    def several(self) -> bool:
        """More than a given name."""
        return len(self.words) > 1

    @property
    def common(self) -> bool:
        """A family name that is hardly ever another word, and a given name: sure without capitals."""
        return self.several and self.words[0] in _COMMON_SURNAMES

    @property
    def historic(self) -> bool:
        """Roads, schools and parks carry this name."""
        return " ".join(self.words[: 4 if len(self.words) == 4 else 3]) in _HISTORIC


def _names(text: str, low: str) -> Iterator[Found]:
    known: set[tuple[str, ...]] = set()
    end = 0
    for lead in _LEAD.finditer(low):
        start = lead.end()
        if start < end:
            continue
        name = _name(text, low, start, text[lead.start() : start])
        while name and _is_named(lead, text, low, name):
            yield Found(Kind.NAME, start, name.end)
            end = name.end
            if name.several:
                known.add(name.words)
            more = _AND.match(low, end)
            if not more:
                break
            start = more.end()
            name = _name(text, low, start, "")
            if name and not (name.full or (name.proper and name.family and len(name.words) > 2 and not name.historic)):
                break
    for match in _CAPITALISED.finditer(text):
        start, end = match.span()
        if low[start:end] not in _SURNAMES and low[start:end] not in _BARE_SURNAMES:
            continue
        name = _name(text, low, start, "")
        if name and name.family and _stands_alone(text, low, start, name, known):
            yield Found(Kind.NAME, start, name.end)


def _name(text: str, low: str, start: int, lead: str) -> _Name | None:
    """The name that begins at `start`; capitals prove nothing after a `lead` in capitals or without any."""
    spans = _syllables(text, start, 5)
    words = [low[a:b] for a, b in spans]
    if not spans or _OFFICES.match(low, start):
        return None
    bare = words[0] in _BARE_SURNAMES and all(word.isascii() for word in words[:2])
    family = words[0] in _SURNAMES or bare
    shouted = text[spans[0][0] : spans[0][1]].isupper() and (len(words[0]) > 1)
    proper = not (shouted and lead.strip().isupper()) and _TITLE_CASE.match(text, start) is not None
    if not family and (not proper or shouted):
        return None
    middle = family and len(words) > 2 and (words[1] in _MIDDLE or (bare and words[1] in _BARE_MIDDLE))
    # A word that also ends names is part of one right after the middle name: "Lê Thị Hiền", "le thi hien".
    at_least = 3 if middle else 1
    at_most = 5 if proper and not shouted else 3 if len(words) > 1 and words[1] in ("văn", "van") else 4
    count = 1
    while count < min(len(words), at_most):
        a, b = spans[count]
        capital = _TITLE_CASE.match(text, a) is not None
        if (proper and not capital) or (shouted and not text[a:b].isupper()):
            break
        if count >= at_least and (words[count] in (_NO_NAME if proper else _NAME_END) or _OFFICES.match(low, a)):
            break
        count += 1
    if words[0] in _NAME_END and not family:
        return None
    if not proper and count == 1:
        return None
    return _Name(spans[count - 1][1], tuple(words[:count]), family, proper, middle and count > 2)


def _is_named(lead: re.Match[str], text: str, low: str, name: _Name) -> bool:
    """Whether the words before it make a name of it."""
    if name.full:
        return True
    following = low[name.end : name.end + 1]
    if lead["called"]:
        return name.common or (name.proper and not _before(_PLACE_BEFORE, low, lead.start()))
    if lead["applicant"]:
        return name.common or (name.proper and name.several) or (name.family and name.several and ":" in lead.group())
    if lead["being"]:
        if not name.several:  # "Em là Hoài, con ông Tưởng"
            return name.proper and len(name.words[0]) > 1 and following in (",", ".") and "l" in lead.group()
        return name.proper and (name.family or (len(name.words) > 2 and "l" in lead.group()))
    if lead["thanks"]:
        return name.proper and name.family and name.several and _ENDS_LINE.match(text, name.end) is not None
    title = lead["title"]
    if title == "em" and _before(_SIBLINGS_BEFORE, low, lead.start()):
        return False
    if _before(_PLACE_BEFORE if text[lead.start()].isupper() else _HOLY_PLACE_BEFORE, low, lead.start()):
        return False
    if ":" in lead.group() and not (name.family and name.several):  # "Ghi chú: Xem Phụ lục"
        return False
    if not name.several:  # "chị H." is masked already; "ba Lan" may be three
        called = name.proper and len(name.words[0]) > 1 and name.words[0] not in _SAINTS
        return called and (not title.isascii() or title in ("anh", "em"))
    return name.common or (name.proper and (name.family or (not title.isascii() or title in ("anh", "em"))))


def _stands_alone(text: str, low: str, start: int, name: _Name, known: set[tuple[str, ...]]) -> bool:
    """Whether a family name and what follows is a person, with no word of address before it."""
    if name.words in known:
        return True
    if not name.several or name.historic or _before(_NUMBER_BEFORE, low, start):
        return False
    placed = _before(_PLACE_BEFORE, low, start)
    if name.full:
        return not placed
    if len(name.words) > 2:  # two signs of three: "chủ tịch xã Lê Huy Thông", "trưởng bản Cầm Bá Tiến"
        return name.common + (not placed) + _before(_ROLE_BEFORE, low, start) > 1
    return not placed and _before(_LINE_BEFORE, low, start) and _ENDS_LINE.match(text, name.end) is not None
