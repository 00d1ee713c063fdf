"""`python -m tests.write_openapi`: write docs/openapi.json from the application, after a change made on purpose."""

import json
from pathlib import Path

from nlp_service.api import create_app
from nlp_service.settings import Settings

if __name__ == "__main__":
    path = Path(__file__).resolve().parents[1] / "docs" / "openapi.json"
    path.write_text(json.dumps(create_app(Settings()).openapi(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
