"""Label a file: hand it in, see how far it is, download it, cancel it. For the archivist with many old rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from nlp_service.api_jobs import JobId, job_desk, send_report, send_result, take
from nlp_service.console import words
from nlp_service.console.access import Access, LoginNeeded, RawReader, Refused, require_own_page
from nlp_service.console.pages import Pages
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.jobs import ACTIVE, Job, State
from nlp_service.old_encodings import Encoding
from nlp_service.roles import Right
from nlp_service.sessions import Session, valid_csrf
from nlp_service.tables import ENDINGS_IN
from nlp_service.uploads import Form

HERE = "/console/jobs"
MOST = 50

STATES = {
    State.QUEUED: "Đang chờ",
    State.RUNNING: "Đang gán nhãn",
    State.DONE: "Xong",
    State.FAILED: "Không gán nhãn được",
    State.CANCELLED: "Đã hủy",
}

FORMATS = {"csv": "CSV", "xlsx": "Excel (.xlsx)", "jsonl": "JSONL", "parquet": "Parquet"}

ENCODINGS = {
    Encoding.UNICODE: "Unicode",
    Encoding.TCVN3: "TCVN3 (ABC, .VnTime)",
    Encoding.VNI: "VNI-Windows",
    Encoding.VIQR: "VIQR",
    Encoding.VISCII: "VISCII",
    Encoding.VPS: "VPS",
}
"""Those that a person knows by name; the others are found."""

FAILURES = {
    ErrorKind.INVALID_FILE: "Không đọc được tệp, hoặc tệp không có cột đã chọn. Hãy mở tệp kiểm tra, sửa rồi gửi lại.",
    ErrorKind.MISSING_EXTRA: "Máy chủ chưa cài phần đọc hoặc ghi loại tệp này. Hãy lưu tệp thành CSV hoặc Excel rồi gửi lại.",
    ErrorKind.CLASSIFICATION_FAILED: "Máy chủ dừng giữa chừng nhiều lần ở cùng một chỗ, thường vì thiếu bộ nhớ. "
    "Hãy chia nhỏ tệp rồi gửi lại, hoặc báo quản trị viên.",
}
_FAILED = "Có lỗi trong hệ thống. Hãy báo quản trị viên."


def add_pages(app: FastAPI, pages: Pages) -> None:
    """Add the page, its list, and what its buttons do."""

    @app.get(HERE, include_in_schema=False)
    def page(request: Request, visitor: RawReader, sent: Annotated[str, Query(max_length=32)] = "") -> Response:
        return _page(pages, request, visitor, sent=sent)

    @app.get(f"{HERE}/list", include_in_schema=False)
    def progress(request: Request, visitor: RawReader) -> Response:
        """The list alone: the page asks for it again as long as something goes on."""
        return pages.show(request, "_jobs.html", visitor, **_listed(request, visitor))

    @app.post(HERE, include_in_schema=False)
    async def send(request: Request, visitor: Annotated[Session, Depends(_sender)]) -> Response:
        """Take the file as it arrives; its form carries the CSRF token in a field before it."""

        def admit(form: Form) -> Form:
            if not valid_csrf(visitor, dict(form.fields).get("csrf")):
                raise Refused("Phiên làm việc đã đổi nên tệp chưa được nhận. Hãy tải lại trang rồi gửi lại.")
            own = tuple(field for field in form.fields if field[0] != "csrf")
            return Form(own, form.file_name, form.file_bytes)

        try:
            job = await take(request, visitor.principal, admit)
        except PetitionError as error:
            context = {"refused": refusal(error)}
            return await run_in_threadpool(_page, pages, request, visitor, error.http_status, **context)
        return RedirectResponse(f"{HERE}?{urlencode({'sent': job.id})}", 303)

    @app.post(HERE + "/{job_id}/cancel", include_in_schema=False)
    def cancel(request: Request, visitor: RawReader, job_id: JobId) -> Response:
        try:
            job_desk(request).cancel(visitor.principal, job_id)
        except PetitionError as error:
            if error.kind not in (ErrorKind.CONFLICT, ErrorKind.NOT_FOUND):
                raise
            # It ended while the page was shown: the list says how.
        return RedirectResponse(HERE, 303)

    @app.get(HERE + "/{job_id}/result", include_in_schema=False)
    def result(request: Request, visitor: RawReader, job_id: JobId) -> Response:
        with _in_words():
            return send_result(job_desk(request), visitor.principal, job_id)

    @app.get(HERE + "/{job_id}/report", include_in_schema=False)
    def report(request: Request, visitor: RawReader, job_id: JobId) -> Response:
        with _in_words():
            return send_report(job_desk(request), visitor.principal, job_id, "html")


def time_left(job: Job) -> str:
    """ "còn khoảng 5 phút"; empty where nobody can say."""
    seconds = job.seconds_left
    if seconds is None:
        return ""
    if seconds < 1:
        return "đang ghi kết quả"
    minutes = round(seconds / 60)
    if minutes < 1:
        return "còn dưới một phút"
    return f"còn khoảng {minutes} phút" if minutes < 120 else f"còn khoảng {round(minutes / 60)} giờ"


def refusal(error: PetitionError) -> str:
    """Why a file was not taken, in Vietnamese."""
    if error.kind is ErrorKind.BODY_TOO_LARGE:
        return f"Tệp quá lớn: tối đa {size(error.detail['limit'])}. Hãy chia thành nhiều tệp."
    if error.kind is ErrorKind.INVALID_FILE:
        return f"Không nhận loại tệp này. Hãy gửi tệp {words.joined(ENDINGS_IN)}."
    if error.kind is ErrorKind.INVALID_REQUEST:
        return "Chưa nhận được tệp: hãy chọn một tệp, xem lại các ô đã điền rồi gửi lại."
    if "needed" in error.detail:
        needed, free = size(error.detail["needed"]), size(error.detail["free"])
        return f"Máy chủ không đủ chỗ: cần {needed}, còn {free}. Hãy gửi tệp nhỏ hơn, hoặc báo quản trị viên."
    return words.ERRORS.get(error.kind, _FAILED)


def size(count: int) -> str:
    """ "1,5 MB"."""
    for unit, factor in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)):
        if count >= factor:
            return f"{words.number(count / factor, 1)} {unit}"
    return f"{count} byte"


def _sender(request: Request) -> Session:
    """As `access.needs`, but the form is not read: that would take in the whole file first."""
    access: Access = request.app.state.access
    session = access.visitor(request)
    if session is None:
        raise LoginNeeded
    require_own_page(request)
    if not session.principal.may(Right.READ_RAW):
        raise Refused("Vai trò của bạn không được làm việc này. Hãy nhờ quản trị viên nếu bạn cần quyền.")
    return session


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except PetitionError as error:
        if error.kind not in (ErrorKind.NOT_FOUND, ErrorKind.CONFLICT):
            raise
        raise Refused("Không có tệp này, hoặc tệp đã hết hạn lưu. Hãy xem lại danh sách.", error.http_status) from error


def _page(pages: Pages, request: Request, visitor: Session, status: int = 200, **context: Any) -> Response:
    desk = job_desk(request)
    found = {
        "formats": FORMATS.items(),
        "encodings": ENCODINGS.items(),
        "accept": ",".join(ENDINGS_IN),
        "readable": words.joined(ENDINGS_IN),
        "largest": size(desk.limit),
        "days": desk.keep_for.days,
    }
    return pages.show(request, "jobs.html", visitor, status, **found, **_listed(request, visitor), **context)


def _listed(request: Request, visitor: Session) -> dict[str, Any]:
    desk = job_desk(request)
    found = desk.listed(visitor.principal, MOST)
    return {
        "jobs": found,
        "active": any(job.state in ACTIVE for job in found),
        "states": STATES,
        "left": {job.id: time_left(job) for job in found},
        "sizes": {job.id: size(job.input_bytes) for job in found},
        "reported": {job.id for job in found if job.state is State.DONE and desk.has_report(job, "html")},
        "kept_until": {job.id: job.finished_at + desk.keep_for for job in found if job.finished_at},
        "failures": {job.id: FAILURES.get(ErrorKind(job.error["kind"]), _FAILED) for job in found if job.error},
    }
