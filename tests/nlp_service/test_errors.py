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
