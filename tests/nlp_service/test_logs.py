import io
import logging

from nlp_service.logs import without_values


def test_an_exception_keeps_its_kind_and_place_and_loses_its_words() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(without_values)
    log = logging.Logger("x")
    log.addHandler(handler)
    try:
        raise ValueError("bà Lê Thị Bưởi")
    except ValueError:
        log.exception("Exception in %s", "ASGI")
    log.info("ready: %d", 5)
    written = stream.getvalue()
    assert "ERROR Exception in ASGI: ValueError" in written and "test_logs.py" in written
    assert "Bưởi" not in written.replace('raise ValueError("bà Lê Thị Bưởi")', "")
    assert "INFO ready: 5" in written
