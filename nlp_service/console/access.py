"""Who visits the console: login, the session cookie, and what a request that changes something has to show.

A page takes `Visitor` (anybody who is logged in) or `needs(right)`. Both send a stranger to the login page, and let a request
that changes something through only from a page of this site, with the session's CSRF token.
"""

import posixpath
import secrets
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import unquote, urlencode, urlsplit

from fastapi import Depends, FastAPI, Form, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import Connection, Engine
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from nlp_service import audit
from nlp_service.api_access import address, from_here, wait_s
from nlp_service.console.headers import SecurityHeaders
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.keys import LONGEST_NAME, any_key, authenticate, canonical
from nlp_service.roles import LOCAL, Right
from nlp_service.sessions import (
    Session,
    close_session,
    csrf_token,
    note_seen,
    open_session,
    purge,
    read_session,
    valid_csrf,
)
from nlp_service.store import writing
from nlp_service.users import check_password, has_user, note_login

COOKIE = "petitions_session"
HOME = "/console/"
LOGIN = "/console/login"
LOGOUT = "/console/logout"

LOGINS_OF_ADDRESS = RateLimitItemPerMinute(30)
"""Attempts to log in from one address, which may be a whole office's."""

LOGINS_OF_USER = RateLimitItemPerMinute(10, multiples=5)
"""Attempts for one user name, from anywhere; a good login sets the count back."""

HASHED_AT_ONCE = 2
"""Every password that is being checked takes 64 MiB."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class LoginNeeded(Exception):
    """Nobody is logged in: the handler of `add_access` leads to the login page."""


class Refused(Exception):
    """The visitor may not do this; the handler of `add_access` says so, in the words given.

    Attributes:
        message: Vietnamese, for the clerk: what is wrong, and the next step.
    """

    def __init__(self, message: str, status: int = HTTPStatus.FORBIDDEN) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class LoginRefused(Exception):
    """A login that failed.

    Attributes:
        message: Vietnamese, for the clerk.
        field: name, password or key: where to type next.
        user: the user name that a wrong password was given for.
        wait_s: seconds until the next attempt, after too many.
    """

    def __init__(self, message: str, field: str, user: str | None = None, wait_s: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.user = user
        self.wait_s = wait_s

    @property
    def status(self) -> int:
        """Over HTTP: 429 after too many attempts, otherwise 401."""
        return HTTPStatus.TOO_MANY_REQUESTS if self.wait_s else HTTPStatus.UNAUTHORIZED


class Access:
    """Lets visitors in and out. One for an app; its counts and its local token live as long as the process."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._hashing = threading.BoundedSemaphore(HASHED_AT_ONCE)
        self._local = Session(LOCAL, LOCAL.name, "Người dùng tại máy này", csrf_token(secrets.token_urlsafe(32)))

    def visitor(self, request: Request) -> Session | None:
        """Who asks, by the cookie; without one whoever sits at this machine, as long as there is neither key nor user."""
        engine, now, token = _engine(request), datetime.now(UTC), request.cookies.get(COOKIE)
        with engine.connect() as connection:
            session = read_session(connection, token, now) if token else None
            if session is None:
                return self._local if from_here(request) and not any_key(connection) else None
        if session.stale and token:
            with writing(engine) as connection:
                note_seen(connection, token, now)
        return session

    def log_in(self, request: Request, name: str, password: str) -> str:
        """The token of a new session for a user. Raises LoginRefused."""
        if not name.strip():
            raise LoginRefused("Hãy nhập tên đăng nhập.", "name")
        if not password:
            raise LoginRefused("Hãy nhập mật khẩu.", "password")
        user = canonical(name)[: LONGEST_NAME + 1]
        self._count(LOGINS_OF_ADDRESS, f"address {address(request)}", "password")
        self._count(LOGINS_OF_USER, f"user {user}", "password")
        engine = _engine(request)
        try:
            # Not in the transaction that writes: nobody's petition waits for the hash.
            with self._hashing, engine.connect() as connection:
                proof = check_password(connection, name, password)
            with writing(engine) as connection:
                note_login(connection, proof, datetime.now(UTC))
                token = _open(connection, request, proof.user.name, f"user:{proof.user.name}")
        except PetitionError as error:
            _only(ErrorKind.UNAUTHENTICATED, error)
            raise LoginRefused(
                "Tên đăng nhập hoặc mật khẩu không đúng. Hãy nhập lại, hoặc nhờ quản trị viên đặt lại mật khẩu.",
                "password",
                user,
            ) from error
        self._limiter.clear(LOGINS_OF_USER, f"user {user}")
        return token

    def log_in_with_key(self, request: Request, key: str) -> str:
        """The token of a new session for an API key. Raises LoginRefused."""
        if not key.strip():
            raise LoginRefused("Hãy nhập khóa API.", "key")
        self._count(LOGINS_OF_ADDRESS, f"address {address(request)}", "key")
        engine = _engine(request)
        try:
            with engine.connect() as connection:
                principal, _ = authenticate(connection, key.strip(), datetime.now(UTC))
            with writing(engine) as connection:
                return _open(connection, request, principal.name, f"key:{principal.name}")
        except PetitionError as error:
            _only(ErrorKind.UNAUTHENTICATED, error)
            raise LoginRefused(
                "Khóa API không dùng được: sai, đã bị thu hồi hoặc hết hạn. Hãy nhờ quản trị viên cấp khóa khác.", "key"
            ) from error

    def _count(self, limit: RateLimitItem, who: str, field: str) -> None:
        wait = wait_s(self._limiter, limit, who)
        if wait:
            shown = f"{wait} giây" if wait < 120 else f"{-(-wait // 60)} phút"
            raise LoginRefused(f"Đăng nhập quá nhiều lần. Hãy thử lại sau {shown}.", field, wait_s=wait)


def _known(request: Request) -> Session:
    """Not async: it asks the store, so it runs in a thread."""
    access: Access = request.app.state.access
    session = access.visitor(request)
    if session is None:
        raise LoginNeeded
    return session


async def _guarded(request: Request, session: Annotated[Session, Depends(_known)]) -> Session:
    if request.method not in _SAFE:
        require_own_page(request)
        presented = request.headers.get("x-csrf-token")
        if presented is None and request.headers.get("content-type", "").startswith(_FORMS):
            field = (await request.form()).get("csrf")
            presented = field if isinstance(field, str) else None
        if not valid_csrf(session, presented):
            raise Refused("Phiên làm việc đã đổi nên thao tác chưa được thực hiện. Hãy tải lại trang rồi làm lại.")
    return session


Visitor = Annotated[Session, Depends(_guarded)]
"""Who is logged in, whatever the role."""


def needs(right: Right) -> Callable[..., Awaitable[Session]]:
    """A dependency: the session, if its role includes `right`."""

    async def admitted(session: Visitor) -> Session:
        if not session.principal.may(right):
            raise Refused("Vai trò của bạn không được làm việc này. Hãy nhờ quản trị viên nếu bạn cần quyền.")
        return session

    return admitted


Reader = Annotated[Session, Depends(needs(Right.READ))]
RawReader = Annotated[Session, Depends(needs(Right.READ_RAW))]
Handler = Annotated[Session, Depends(needs(Right.HANDLE))]
Auditor = Annotated[Session, Depends(needs(Right.AUDIT))]


def require_own_page(request: Request) -> None:
    """Raises Refused unless the request says that it comes from a page of this site.

    `Sec-Fetch-Site` goes first: a page cannot set it, and a proxy that renames the host does not spoil it. Browsers leave it
    out on plain HTTP; there the host of `Origin`, or else of `Referer`, must be the one that was asked.
    """
    headers = request.headers
    site = headers.get("sec-fetch-site")
    if site is not None:
        own = site in ("same-origin", "none")
    else:
        source = headers.get("origin") or headers.get("referer") or ""
        own = bool(headers.get("host")) and _host(source) == headers["host"].lower()
    if not own:
        raise Refused(
            "Yêu cầu không đến từ trang của hệ thống này nên không được thực hiện. Hãy mở lại trang rồi làm lại."
        )


def safe_next(target: str | None) -> str:
    """Where to go after login: `target` if it is a path under /console, otherwise the first page."""
    if not target or not target.isprintable() or "\\" in target:
        return HOME
    try:
        parts = urlsplit(target)
    except ValueError:
        return HOME
    path = posixpath.normpath(unquote(parts.path))
    inside = path == "/console" or path.startswith("/console/")
    # A path that means another one (`..`, `//`, encoded or not) is nobody's bookmark.
    plain = path in (parts.path, unquote(parts.path).rstrip("/"))
    if parts.scheme or parts.netloc or not inside or not plain or path in (LOGIN, LOGOUT):
        return HOME
    return target


def add_access(app: FastAPI, templates: Jinja2Templates) -> None:
    """Login, logout, security headers, and the handlers of LoginNeeded and Refused.

    Args:
        templates: find `login.html` and `refused.html`, which both extend `base.html`, and `_notice.html`.
    """
    access = Access()
    app.state.access = access
    app.add_middleware(SecurityHeaders)

    def login_page(
        request: Request, target: str, failure: LoginRefused | None = None, name: str = "", status: int = HTTPStatus.OK
    ) -> Response:
        context: dict[str, Any] = {"next": target, "failure": failure, "name": name, "visitor": None}
        return templates.TemplateResponse(request, "login.html", context, status)

    async def on_login_needed(request: Request, error: Exception) -> Response:
        location = _login_url(request)
        if "hx-request" in request.headers:
            return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": location})
        return RedirectResponse(location, HTTPStatus.SEE_OTHER)

    async def on_refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        if "hx-request" in request.headers:
            # A sentence above the page that stays as it is: nothing that was typed is lost.
            headers = {"HX-Retarget": "#notice", "HX-Reswap": "innerHTML"}
            notice = {"message": error.message, "kind": "error"}
            return templates.TemplateResponse(request, "_notice.html", notice, error.status, headers)
        visitor = await run_in_threadpool(access.visitor, request)
        context = {"message": error.message, "visitor": visitor}
        return templates.TemplateResponse(request, "refused.html", context, error.status)

    app.add_exception_handler(LoginNeeded, on_login_needed)
    app.add_exception_handler(Refused, on_refused)

    @app.get(LOGIN, include_in_schema=False)
    def read_login(request: Request) -> Response:
        target = safe_next(request.query_params.get("next"))
        if access.visitor(request) is not None:
            return RedirectResponse(target, HTTPStatus.SEE_OTHER)
        return login_page(request, target)

    @app.post(LOGIN, include_in_schema=False)
    def log_in(
        request: Request,
        name: Annotated[str, Form()] = "",
        password: Annotated[str, Form()] = "",
        key: Annotated[str | None, Form()] = None,
        target: Annotated[str, Form(alias="next")] = "",
    ) -> Response:
        require_own_page(request)
        target = safe_next(target)
        try:
            token = access.log_in(request, name, password) if key is None else access.log_in_with_key(request, key)
        except LoginRefused as failure:
            page = login_page(request, target, failure, name, failure.status)
            if failure.wait_s:
                page.headers["Retry-After"] = str(failure.wait_s)
            if failure.user is not None:
                # After the answer is sent: the time it takes must not tell whether the user exists.
                page.background = BackgroundTask(_note_refused, _engine(request), failure.user, address(request))
            return page
        answer = RedirectResponse(target, HTTPStatus.SEE_OTHER)
        answer.set_cookie(COOKIE, token, **_cookie(request))
        return answer

    @app.post(LOGOUT, include_in_schema=False)
    def log_out(request: Request, visitor: Visitor) -> Response:
        token = request.cookies.get(COOKIE)
        if token:
            with writing(_engine(request)) as connection:
                _close(connection, request, token)
        answer = RedirectResponse(LOGIN, HTTPStatus.SEE_OTHER)
        answer.delete_cookie(COOKIE, **_cookie(request))
        return answer


def _open(connection: Connection, request: Request, name: str, subject: str) -> str:
    """A new session in place of the one that the browser had, so that a token which somebody planted is worth nothing."""
    now, old = datetime.now(UTC), request.cookies.get(COOKIE)
    if old:
        _close(connection, request, old)
    purge(connection, now)
    token = open_session(connection, name, now)
    audit.append(connection, now, [audit.Entry(name, "session.opened", subject, {"address": address(request)})])
    return token


def _close(connection: Connection, request: Request, token: str) -> None:
    now = datetime.now(UTC)
    session = read_session(connection, token, now)
    if session is None:
        return
    close_session(connection, token)
    entry = audit.Entry(session.principal.name, "session.closed", session.subject, {"address": address(request)})
    audit.append(connection, now, [entry])


def _note_refused(engine: Engine, user: str, client: str) -> None:
    """An unknown name is not written: it may be a password, typed into the wrong field."""
    with engine.connect() as connection:
        known = has_user(connection, user)
    if known:
        with writing(engine) as connection:
            entry = audit.Entry("unknown", "session.refused", f"user:{user}", {"address": client})
            audit.append(connection, datetime.now(UTC), [entry])


def _login_url(request: Request) -> str:
    """The login page, and back to where the visitor was: for htmx that is the page, not the part that was asked for."""
    if "hx-request" in request.headers:
        current = urlsplit(request.headers.get("hx-current-url", ""))
        target = current._replace(scheme="", netloc="", fragment="").geturl()
    else:
        path, query = request.url.path, request.url.query
        target = (f"{path}?{query}" if query else path) if request.method == "GET" else HOME
    target = safe_next(target)
    return LOGIN if target == HOME else f"{LOGIN}?{urlencode({'next': target})}"


def _cookie(request: Request) -> dict[str, Any]:
    return {"path": "/console", "httponly": True, "samesite": "strict", "secure": request.url.scheme == "https"}


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def _only(kind: ErrorKind, error: PetitionError) -> None:
    if error.kind is not kind:
        raise error
