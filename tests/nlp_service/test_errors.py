import json
import pickle

import pytest

from nlp_service.errors import HTTP_STATUS, ErrorKind, PetitionError


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_has_a_status_and_the_one_shape(kind: ErrorKind) -> None:
    error = PetitionError(kind, "text has 9 characters, limit 5; split it", limit=5)
    assert 400 <= error.http_status < 600
    assert error.as_dict() == {
        "error": {"kind": kind.value, "message": "text has 9 characters, limit 5; split it", "detail": {"limit": 5}}
    }


def test_statuses_name_no_unknown_kind() -> None:
    assert set(HTTP_STATUS) == set(ErrorKind)


def test_errors_come_back_whole_from_another_process() -> None:
    error = PetitionError(ErrorKind.EMPTY_TEXT, "text holds no letter", characters=0)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (copy.kind, copy.message, copy.detail) == (error.kind, error.message, error.detail)


def test_the_shape_survives_json_with_vietnamese() -> None:
    error = PetitionError(
        ErrorKind.INVALID_FILE, "dòng 3: thiếu cột 'nội dung'", columns=["id", "nội dung"], row=3, limit=None
    )
    assert json.loads(json.dumps(error.as_dict())) == error.as_dict()
    assert str(error) == error.message
    assert error.as_dict()["error"]["detail"] == {"columns": ["id", "nội dung"], "row": 3, "limit": None}


def test_an_error_without_facts_has_an_empty_detail() -> None:
    assert PetitionError(ErrorKind.INTERNAL, "x").as_dict()["error"]["detail"] == {}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        # What DESIGN.md promises to callers.
        (ErrorKind.EMPTY_TEXT, 422),
        (ErrorKind.INVALID_REQUEST, 422),
        (ErrorKind.TEXT_TOO_LONG, 413),
        (ErrorKind.BODY_TOO_LARGE, 413),
        (ErrorKind.BATCH_TOO_LARGE, 413),
        (ErrorKind.QUEUE_FULL, 429),
        (ErrorKind.SHUTTING_DOWN, 503),
    ],
)
def test_statuses_of_the_contract(kind: ErrorKind, status: int) -> None:
    assert PetitionError(kind, "x").http_status == status


def test_kinds_are_plain_names_for_programs() -> None:
    assert all(kind.value == kind.name.lower() for kind in ErrorKind)
    assert f"{ErrorKind.QUEUE_FULL}" == "queue_full"
