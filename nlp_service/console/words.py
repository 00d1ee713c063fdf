"""What pages say in Vietnamese: names of statuses and the like, times, numbers, and a petition's text with words marked."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from markupsafe import Markup, escape

from nlp_service.errors import ErrorKind
from nlp_service.text import normalise
from nlp_service.workdays import VIETNAM

STATUSES = {
    "in_review": "Chờ xem xét",
    "routed": "Đã chuyển",
    "in_progress": "Đang giải quyết",
    "answered": "Đã trả lời",
    "closed": "Đã kết thúc",
    "redirected": "Hướng dẫn nơi khác",
    "rejected": "Không thụ lý",
    "merged": "Đã gộp",
    "split": "Đã tách",
}

ACTIONS = {
    "in_review": "Đưa về hàng đợi",
    "routed": "Chuyển đơn vị",
    "in_progress": "Bắt đầu giải quyết",
    "answered": "Đã trả lời",
    "closed": "Kết thúc",
    "redirected": "Hướng dẫn nơi khác",
    "rejected": "Không thụ lý",
}
"""What a button does that gives a petition a status."""

RISKS = {0: "Khẩn cấp", 1: "Khiếu nại, tố cáo", 2: "Nhạy cảm, chưa rõ", 3: "Thường"}
ZONES = {"auto": "Máy chuyển thẳng", "suggest": "Chọn trong gợi ý", "human": "Cần người đọc"}
ROLES = {
    "intake": "Nơi gửi",
    "officer": "Cán bộ đơn vị",
    "reviewer": "Cán bộ tiếp nhận",
    "auditor": "Kiểm tra",
    "admin": "Quản trị",
}
CHANNELS = {"api": "hệ thống khác", "portal": "cổng phản ánh", "letter": "thư", "open311": "Open311"}
FIELDS = {
    "category": "Lĩnh vực",
    "urgency": "Mức khẩn",
    "petition_type": "Loại đơn",
    "commune_code": "Xã, phường",
    "lead_body": "Đơn vị chủ trì",
    "status": "Trạng thái",
}
FLAGS = {
    "anonymous": "Nặc danh",
    "mass": "Đông người",
    "multi_content": "Nhiều nội dung",
    "out_of_jurisdiction": "Ngoài thẩm quyền",
}

ERRORS = {
    ErrorKind.NOT_FOUND: "Không có đơn này, hoặc bạn không được xem.",
    ErrorKind.FORBIDDEN: "Vai trò của bạn không được làm việc này.",
    ErrorKind.INVALID_STORE: "Kho dữ liệu chưa trả lời. Hãy thử lại sau ít phút; nếu vẫn lỗi, báo quản trị viên.",
    ErrorKind.RATE_LIMITED: "Quá nhiều yêu cầu trong một phút. Hãy đợi một chút rồi thử lại.",
    ErrorKind.QUEUE_FULL: "Hệ thống đang bận. Hãy thử lại sau vài giây.",
    ErrorKind.SHUTTING_DOWN: "Hệ thống đang khởi động lại. Hãy thử lại sau vài giây.",
    ErrorKind.EMPTY_TEXT: "Chưa có nội dung: hãy nhập ít nhất một chữ.",
    ErrorKind.TEXT_TOO_LONG: "Đơn quá dài: hãy chia thành nhiều phần.",
    ErrorKind.BODY_TOO_LARGE: "Nội dung gửi lên quá lớn.",
    ErrorKind.METHOD_NOT_ALLOWED: "Trang này không nhận thao tác đó.",
    ErrorKind.INTERNAL: "Có lỗi trong hệ thống. Hãy thử lại; nếu vẫn lỗi, báo quản trị viên.",
}
"""For the clerk. Kinds that are not here depend on what was asked: the page says what it means there."""


def moment(value: datetime | str) -> str:
    """ "25/11/2026 10:05", in Vietnam's time."""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.astimezone(VIETNAM).strftime("%d/%m/%Y %H:%M")


def day(value: datetime | str) -> str:
    """ "25/11/2026", in Vietnam's time."""
    return moment(value)[:10]


def until(value: datetime | str, now: datetime | None = None) -> str:
    """How far off a deadline is: "còn 3 ngày", "còn 5 giờ", "quá hạn 2 ngày"."""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    left = at - (now or datetime.now(UTC))
    said = "còn" if left >= timedelta() else "quá hạn"
    minutes = int(abs(left).total_seconds() // 60)
    if minutes < 60:
        return f"{said} {minutes} phút"
    return f"{said} {minutes // 60} giờ" if minutes < 48 * 60 else f"{said} {minutes // (24 * 60)} ngày"


def percent(value: float) -> str:
    """ "87 %"; never 0 % nor 100 % for what is not quite."""
    if 0 < value < 0.01:
        return "dưới 1 %"
    if 0.99 < value < 1:
        return "trên 99 %"
    return f"{value:.0%}".replace("%", " %")


def number(value: int | float, places: int = 0) -> str:
    """ "12.345,6", as Vietnamese writes it."""
    return f"{value:,.{places}f}".translate(str.maketrans(",.", ".,"))


def paragraphs(text: str, places: Sequence[Mapping[str, int]] = ()) -> list[Markup]:
    """A petition's lines in normal form, words marked.

    Args:
        places: `start` and `end` in the normalised text; those that overlap an earlier one are left out.
    """
    shown: list[Markup] = []
    offset = 0
    for line in (normalise(line) for line in text.splitlines()):
        if line:
            shown.append(_marked(line, offset, places))
            offset += len(line) + 1
    return shown


def marked(text: str, spans: Sequence[tuple[int, int]]) -> Markup:
    """A text with the words between `start` and `end` marked."""
    return _marked(text, 0, [{"start": start, "end": end} for start, end in spans])


def _marked(line: str, offset: int, places: Sequence[Mapping[str, int]]) -> Markup:
    parts: list[Markup] = []
    done = 0
    for place in sorted(places, key=lambda place: place["start"]):
        start, end = max(place["start"] - offset, done), min(place["end"] - offset, len(line))
        if start < end:
            parts += [escape(line[done:start]), Markup("<mark>"), escape(line[start:end]), Markup("</mark>")]
            done = end
    return Markup("").join([*parts, escape(line[done:])])


def joined(names: Iterable[str]) -> str:
    """ "a, b và c"."""
    known = list(names)
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} và {known[-1]}" if known else ""
