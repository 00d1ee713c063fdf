"""What holds the repository together: who imports whom, where Python may lie, docs that say what is there."""

import ast
import re
from pathlib import Path

from nlp_service.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "transformers", "sklearn", "matplotlib", "onnx", "training", "tests"}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_serving_imports_nothing_of_training() -> None:
    for path in (ROOT / "nlp_service").rglob("*.py"):
        assert not _imports(path) & HEAVY, path


def test_training_imports_nothing_of_tests() -> None:
    for path in (ROOT / "training").rglob("*.py"):
        assert "tests" not in _imports(path), path


def test_models_and_datasets_hold_no_python() -> None:
    # A datasets/__init__.py would shadow Hugging Face's package of that name.
    assert not [*(ROOT / "models").rglob("*.py"), *(ROOT / "datasets").rglob("*.py")]


def test_readme_lists_every_setting() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert f"`PETITIONS_{name.upper()}`" in readme, name


def test_readme_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "datasets").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
