"""Requests made from the service's own OpenAPI description, well-formed and not: none may be answered with 5xx."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CONFORMANCE = [status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_breaks_the_service(running_service: str, mode: schemathesis.GenerationMode) -> None:
    # The fixed network of this service has no words to leave out; test_api_desk.py asks the shipped one.
    schema = schemathesis.openapi.from_url(f"{running_service}/openapi.json").exclude(operation_id="explain_petition")
    tried = 0
    for operation in (result.ok() for result in schema.get_all_operations()):

        @settings(
            max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def no_5xx(case: schemathesis.Case) -> None:
            response = case.call()
            assert response.status_code < 500, f"{case.method} {case.path}: {response.status_code}"
            case.validate_response(response, checks=CONFORMANCE)

        try:
            no_5xx()
        except Unsatisfiable:
            assert mode is schemathesis.GenerationMode.NEGATIVE  # nothing can be wrong where nothing is asked for
            continue
        tried += 1
    assert tried >= 10
