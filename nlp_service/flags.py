"""What can be read off a petition without a model: anonymous, many signatories, several contents, Circular 05/2021 Art. 6.2.

Read from the text as typed, with or without marks. Precision first: a flag the clerk sees wrong twice is not looked at again.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

from nlp_service.text import WORD, fold, normalise

MASS = 5
"""Signatories that make a petition one of many people; the province has not confirmed the number."""

SECOND_CONTENT = 0.3
"""From this probability of a second category on a petition is taken to hold several contents; proposed, not measured."""

_VIETNAMESE_SHARE = 0.5
_EVIDENCE_CHARS = 60
_CLOSING_CHARS = 120


@dataclass(frozen=True)
class Flags:
    """Signs for the clerk, and the fields that Circular 05/2021/TT-TTCP, Art. 6.2, asks of a petition.

    Attributes:
        signatories: how many the text says they are; None if it does not say.
        mass_evidence, multi_content_evidence: the petition's words; personal data, not for logs.
        names_respondent: asked of complaints and denunciations only, else None.
    """

    anonymous: bool
    mass: bool
    signatories: int | None
    mass_evidence: str
    multi_content: bool
    multi_content_evidence: str
    has_date: bool
    has_sender_name_address: bool
    has_signature: bool
    written_in_vietnamese: bool
    names_respondent: bool | None
    states_request: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def extract(
    text: str, *, sender_name: str | None, sender_address: str | None, petition_type: str, second_probability: float
) -> Flags:
    """Read the flags of one petition.

    Args:
        text: as typed.
        sender_name, sender_address: of the form's fields; None or blank if it had none.
        second_probability: of the category that comes second.
    """
    clean = normalise(text)
    plain = fold(clean)
    name_told = bool(sender_name and sender_name.strip()) or _names_writer(clean, plain)
    address_told = bool(sender_address and sender_address.strip()) or bool(_ADDRESS.search(plain))
    signed = bool(_SIGNED.search(plain)) or _closing_name(clean) is not None
    signatories, mass_evidence, group = _signatories(clean, plain)
    contents = _several_contents(clean, plain)
    if not contents and second_probability >= SECOND_CONTENT:
        contents = f"lĩnh vực thứ hai {second_probability:.0%}"
    return Flags(
        anonymous=not (name_told or address_told or signed),
        mass=group or (signatories or 0) >= MASS,
        signatories=signatories,
        mass_evidence=mass_evidence,
        multi_content=bool(contents),
        multi_content_evidence=contents,
        has_date=bool(_DATE.search(plain)),
        has_sender_name_address=name_told and address_told,
        has_signature=signed,
        written_in_vietnamese=_vietnamese(plain),
        names_respondent=(_names_respondent(clean, plain) if petition_type in ("complaint", "denunciation") else None),
        states_request=bool(_REQUEST.search(plain)),
    )


# ------------------------------------------------------------------ who writes

# Nine in ten Vietnamese bear one of these, and the Mường, Thái, Mông and Dao of the province theirs; written without marks.
_SURNAME = (
    "nguyen|tran|le|pham|hoang|huynh|phan|vu|vo|dang|bui|do|ngo|duong|ly|luong|trinh|mai|dinh|dao|lo|vi|quach|truong|cao|"
    "ha|luu|tong|thach|kieu|lai|lam|nghiem|phung|thai|trieu|vuong|cam|luc|giang|sung|hang|lau|pha|ban|khang|thao|hac|"
    "chu|doan|dam|ta|to|tang|khuat|mac|nghi|ninh|quan|tu|ton|trang|van|han|hua|cu|cung|le ba|hoang van|ho si|ho van|ho thi"
)
_PERSON = rf"(?:{_SURNAME})(?: [a-z]+){{1,4}}"
_CAPITAL = "A-ZÀ-ỸĐ"
_CAPITALISED = rf"[{_CAPITAL}][^\W\d_]*(?: [{_CAPITAL}][^\W\d_]*){{1,4}}"

_NAMES_WRITER = re.compile(
    rf"\b(?:toi|em|chau|con|minh|chung toi|nguoi viet)(?: la| ten(?: toi| em| chau)?(?: la)?)[:,]? (?:ong |ba )?(?:{_PERSON})"
    rf"|\b(?:ho va ten|ho ten|ten toi la|toi ten|em ten|chau ten|minh ten|nguoi (?:lam|viet|dung|gui|to cao|khieu nai)(?: don)?"
    rf"(?: la)?)\b[ :,.-]*(?:la )?(?:ong |ba )?(?:{_PERSON})"
    rf"|\b(?:toi|em|chau)[:,]? (?:{_PERSON}),? (?:sinh|tru|o|cu tru|\d)"
)
_ADDRESS = re.compile(
    r"\b(?:tru tai|tru quan|ngu tai|cu tru tai|thuong tru|dia chi|ho khau|cho o|noi o|hien o|hien dang o|(?:toi|em|chau) (?:hien )?"
    r"(?:o|tru|song)(?: tai| o)?|nha (?:toi|em|chau|minh)(?: o| so| tai)|gia dinh (?:toi|em|chung toi) (?:o|tru|song)(?: tai)?)"
    r"[ :,]*(?:tai |o |so |thon|ban|xom|xa|phuong|pho|khu|to |ngo|duong|\d)"
)
_SIGNED = re.compile(
    rf"\((?:da )?ky\)|\b(?:(?<!khong )(?<!chua )(?<!khong dam )ky ten\b|diem chi|lan tay ?:|nguoi (?:lam|viet|dung|to cao|khieu nai)(?: don)?\W{{1,4}}(?:\(?ky[^)]{{0,30}}\)?\W*)?(?:{_PERSON}))"
)


def _names_writer(clean: str, plain: str) -> bool:
    found = _NAMES_WRITER.search(plain)
    if found is None:
        return False
    # "tôi là lao động tự do": surnames are words too, so they need a capital, or in small letters the word "tên".
    words = clean[found.start() : found.end()]
    return "ten " in fold(words) if clean.islower() else re.search(_CAPITALISED, words) is not None


def _closing_name(clean: str) -> str | None:
    """A person's name that ends the text, as a signature does."""
    found = re.search(
        rf"[.!:)\n] ?(?:Kính đơn|Người \w+ đơn|Trân trọng|Xin cảm ơn)?\W*({_CAPITALISED})\W*$", clean[-_CLOSING_CHARS:]
    )
    return found.group(1) if found and re.fullmatch(_PERSON, fold(found.group(1))) else None


# ------------------------------------------------------------------ how many

_DIGITS = {"mot": 1, "hai": 2, "ba": 3, "bon": 4, "tu": 4, "nam": 5, "lam": 5, "sau": 6, "bay": 7, "tam": 8, "chin": 9}
_NUMBER_WORD = r"(?:mot|hai|ba|bon|tu|nam|lam|sau|bay|tam|chin|muoi|tram|linh|le)"
_NUMBER = rf"(\d{{1,3}}(?:[.,]\d{{3}})?|{_NUMBER_WORD}(?: {_NUMBER_WORD}){{0,4}})"
_MANY = r"(?:hon |gan |khoang |tren |du |ca |toan bo |tat ca |tong cong |tong so )*"
_UNIT = (
    r"(?:ho(?: dan| gia dinh| kinh doanh| tieu thuong| nong dan)?|gia dinh|nguoi(?: dan| lao dong)?|ca nhan|cong nhan|giao vien|"
    r"phu huynh|tieu thuong|xa vien|cu dan|hoc vien|sinh vien|cong dan|ngu dan|nong dan|cu tri|hoi vien|can bo huu tri|chu (?:tau|ho))"
)
_TOGETHER = (
    r"(?:chung toi|chung em|cung (?:ky|lam|dung|viet|gui|kien nghi|de nghi|phan anh|khieu nai|to cao)|dong (?:ky|loat|long)|ky ten|"
    r"da ky|lam don|dung don|viet don|(?:co )?ten duoi day|co chu ky|ky don|kinh don)"
)
_COUNTS = (
    # "chúng tôi gồm 12 hộ", "tập thể 30 hộ dân", "thay mặt cho 25 hộ"
    rf"\b(?:chung toi|chung em)(?: la| gom| gom co| bao gom| co|,|:| dai dien(?: cho)?| thay mat(?: cho)?| tap the| nhom){{1,3}} {_MANY}{_NUMBER} {_UNIT}\b(?! con\b| ngheo)",
    rf"\b(?:tap the|dai dien(?: cho)?|thay mat(?: cho)?|nhom|toan the|don (?:cua|tap the)(?: cua)?) {_MANY}{_NUMBER} {_UNIT}\b(?! ngheo)",
    # "30 hộ chúng tôi", "mười hai hộ dân cùng ký tên"
    rf"\b{_NUMBER} {_UNIT}(?: (?:dan|trong|o|thuoc|tai|thon|xom|ban|pho|khu|to|ngo|\w+)){{0,6}},? {_TOGETHER}\b",
    # "kèm 42 chữ ký", "danh sách 42 người ký"
    rf"\b{_NUMBER} (?:chu ky|nguoi ky(?: ten)?|ho ky(?: ten)?)\b",
)
_COUNTED = tuple(re.compile(pattern) for pattern in _COUNTS)
_GROUP = re.compile(
    r"\b(?:tap the|toan the) (?:ho dan|cac ho|nhan dan|cu dan|ba con|cong nhan|phu huynh|tieu thuong|giao vien|nguoi (?:dan|lao dong)|xa vien)\b"
    r"|\bchung toi (?:la |gom )(?:tap the|toan the|cac ho|nhung ho|nhan dan|ba con|cac tieu thuong|nhung nguoi dan|cu dan)\b"
    r"|\b(?:don|kien nghi|khieu nai|to cao) tap the\b"
)
_LISTED_NAME = re.compile(rf"(?<![\d/])(\d{{1,3}})[.)\-/:]? ?(?:Ông |Bà |ông |bà )?({_CAPITALISED})")


def _signatories(clean: str, plain: str) -> tuple[int | None, str, bool]:
    """How many sign by what the text says, the words, and whether it is the letter of a group without number."""
    best: tuple[int, str] | None = None
    for pattern in _COUNTED:
        for found in pattern.finditer(plain):
            count = _number(found.group(1))
            if count is not None and (best is None or count > best[0]):
                best = count, clean[found.start() : found.end()]
    listed = _listed_names(clean)
    if listed >= MASS and (best is None or listed > best[0]):
        best = listed, f"danh sách {listed} người ký"
    group = _GROUP.search(plain)
    evidence = best[1] if best else clean[group.start() : group.end()] if group else ""
    return (best[0] if best else None), evidence[:_EVIDENCE_CHARS], group is not None and best is None


def _listed_names(clean: str) -> int:
    """The length of a list 1, 2, 3 … of persons."""
    expected = longest = 1
    for found in _LISTED_NAME.finditer(clean):
        number = int(found.group(1))
        if not re.match(rf"(?:{_PERSON})", fold(found.group(2))):
            continue
        expected = expected + 1 if number == expected else 2 if number == 1 else expected
        longest = max(longest, expected)
    return longest - 1


def _number(words: str) -> int | None:
    """ "30", "1.200", "mười hai", "ba mươi lăm" -> number; None if the words are none."""
    if words[0].isdigit():
        return int(re.sub(r"\D", "", words))
    total = 0
    last: int | None = None
    for word in words.split():
        if word == "tram":
            total, last = total + (last or 1) * 100, None
        elif word == "muoi":
            total, last = total + (last or 1) * 10, None
        elif word in _DIGITS:
            if last is not None:
                return None
            last = _DIGITS[word]
    return total + (last or 0) or None


# ------------------------------------------------------------------ what is asked

_SECOND = (
    ("thu nhat", "thu hai"),
    ("mot la", "hai la"),
    ("noi dung 1", "noi dung 2"),
    ("van de 1", "van de 2"),
    ("viec thu nhat", "viec thu hai"),
)
_NUMBERED = re.compile(r"(?<![\w./,-])(\d)[.)/:] ?(?=[^\W\d_]+ [^\W\d_]+ [^\W\d_]+ [^\W\d_])")
_BESIDES = re.compile(
    r"\b(?:ngoai ra|ben canh do|nhan day|nhan tien|tien day|dong thoi)[, ]+(?:\w+ ){0,3}(?:con |cung |xin )?(?:de nghi|kien nghi|phan anh|xin hoi|muon hoi|to cao)\b"
)
_REQUEST = re.compile(
    r"\b(?:de nghi|kien nghi|yeu cau|de xuat|mong|xin|nho|kinh mong|cau cuu|cuu|giup|can (?:duoc|phai|co|som)|phan anh|khieu nai|to cao|to giac|"
    r"xem xet|kiem tra|giai quyet|xu ly|hoi|bao gio|khi nao|tai sao|vi sao|sao (?:khong|chua))\b"
)
_DATE = re.compile(
    r"\bngay \d{1,2} thang \d{1,2} nam (?:19|20)\d\d\b|(?<!\d)\d{1,2}\s?[/.-]\s?\d{1,2}\s?[/.-]\s?(?:19|20)\d\d(?!\d)"
)
_RESPONDENT_OFFICE = re.compile(
    r"\b(?:to cao|khieu nai|to giac)\b(?:(?!kinh|gui)[^.;]){0,80}?\b(?:ubnd|uy ban nhan dan|chu tich|so [a-z]|cong an|truong thon|truong ban|"
    r"to truong|can bo|cong chuc|cong ty|doanh nghiep|hieu truong|giam doc|truong phong|ban quan ly|chi cuc|trung tam|hop tac xa|nha may|ho ong|ho ba)"
    r"|\b(?:nguoi|doi tuong|co quan) bi (?:to cao|khieu nai)"
    r"|\b(?:quyet dinh|thong bao|cong van|ket luan) (?:so )?\d"
    rf"|\b(?:to cao|khieu nai|to giac)\b[^.;]{{0,40}}\b(?:ong|ba|anh|chi) (?:{_PERSON})"
)
_RESPONDENT_NAME = re.compile(rf"\b(?:[ôÔ]ng|[bB]à|[aA]nh|[cC]hị|[cC]ô|[tT]hầy) (?:[{_CAPITAL}][^\W\d_]*)")


def _several_contents(clean: str, plain: str) -> str:
    """The words that begin the second content, or nothing."""
    for first, second in _SECOND:
        start = re.search(rf"\b{first}\b", plain)
        found = start and re.compile(rf"\b{second}\b").search(plain, start.end())
        if found:
            return clean[found.start() : found.start() + _EVIDENCE_CHARS]
    expected = 1
    for found in _NUMBERED.finditer(plain):
        if int(found.group(1)) == expected and not re.match(rf"(?:ong |ba )?{_CAPITALISED}", clean[found.end() :]):
            if expected == 2:
                return clean[found.start() : found.start() + _EVIDENCE_CHARS]
            expected = 2
    besides = _BESIDES.search(plain)
    return clean[besides.start() : besides.end()] if besides else ""


def _names_respondent(clean: str, plain: str) -> bool:
    return bool(_RESPONDENT_OFFICE.search(plain) or _RESPONDENT_NAME.search(clean))


# ------------------------------------------------------------------ language

_SYLLABLE = re.compile(
    r"(?:ngh|ng|nh|ch|gh|gi|kh|ph|qu|th|tr|[bcdghklmnprstvx])?"
    r"(?:uye|uya|uyu|oai|oay|oeo|uay|uoi|uou|ieu|yeu|ia|ie|iu|oa|oe|oi|oo|ua|ue|ui|uo|uu|uy|ya|ye|ai|ao|au|ay|eo|eu|[aeiouy])"
    r"(?:ch|ng|nh|[cmnpt])?"
)


def _vietnamese(plain: str) -> bool:
    """At least half of the words could be syllables of Vietnamese, marks or not."""
    words = WORD.findall(plain)
    fitting = sum(_SYLLABLE.fullmatch(word) is not None for word in words)
    return bool(words) and fitting >= _VIETNAMESE_SHARE * len(words)
