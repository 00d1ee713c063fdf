"""Promotion and rollback by command while a real service is asked without a pause: no request fails, none is answered half."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.served import Service, load, serve
from tests.nlp_service.registries import damage, pass_gates, registry


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    settings = registry(tmp_path / "models", "a", "b")
    pass_gates(tmp_path / "models" / "b", "a")
    with serve(settings, tmp_path) as running:
        yield running


@pytest.mark.slow
def test_promote_and_roll_back_under_load(service: Service) -> None:
    before = service.answers()
    with load(service) as loads:
        promoted = service.models("promote", "b")
        assert promoted.returncode == 0, promoted.stderr
        service.wait_for("b")
        for each in loads:
            each.hears("b")
        back = service.models("rollback")
        assert back.returncode == 0, back.stderr
        service.wait_for("a")
        for each in loads:
            each.hears("a")
    for each in loads:
        assert each.failures == []
        assert each.changes() == ["a", "b", "a"]
    assert service.answers() == before


@pytest.mark.slow
def test_a_damaged_model_is_refused_by_the_command_and_by_the_service(service: Service) -> None:
    before = service.answers()
    damage(service.settings.model.parent / "b")
    refused = service.models("promote", "b")
    assert (refused.returncode, "linear.npz does not match its hash" in refused.stderr) == (2, True)
    assert len(refused.stderr.strip().splitlines()) == 1
    assert service.settings.model.read_text(encoding="utf-8") == "a\n"
    service.settings.model.write_text("b\n", encoding="utf-8")  # by hand, past the command
    deadline = time.monotonic() + 60
    while "warning" not in service.ready() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "linear.npz" in service.ready()["warning"]
    assert service.answers() == before
