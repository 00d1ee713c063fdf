"""The service with a fixed network, for tests that kill it: `python -m tests.e2e.intake_server STORE PORT`."""

import sys

import uvicorn

from nlp_service.api import create_app
from nlp_service.settings import Settings
from tests.nlp_service.offices import FixedClassifier

if __name__ == "__main__":
    store, port = sys.argv[1:]
    app = create_app(Settings(store=store, rate_per_minute=1_000_000), FixedClassifier())  # type: ignore[arg-type]
    uvicorn.run(app, port=int(port), log_level="warning", access_log=False)
