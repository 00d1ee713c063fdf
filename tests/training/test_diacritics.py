import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from nlp_service.diacritics import Diacritics
from nlp_service.text import strip_diacritics
from tests.training.conftest import sentences
from training.diacritics import DiacriticsConfig, accuracy, learn_diacritics, make_restorer

ALL = {"syllable": 1, "bigram": 1, "trigram": 1}


def test_learns_to_restore_what_it_has_read(restorer: Diacritics) -> None:
    share, syllables = accuracy(restorer, sentences(60))
    assert syllables > 800
    assert share > 0.97


def test_neighbours_decide(tmp_path: Path) -> None:
    learn_diacritics(["đường hỏng nặng rồi"] * 5 + ["đóa hồng đẹp lắm"] * 20, tmp_path / "d.npz", ALL)
    restorer = Diacritics.load(tmp_path / "d.npz")
    assert restorer.restore("duong hong nang roi nhe") == "đường hỏng nặng rồi nhe"
    assert restorer.restore("doa hong dep lam nhe") == "đóa hồng đẹp lắm nhe"


def test_rare_sequences_are_dropped(tmp_path: Path) -> None:
    """A name that stands in one text only is not to be found in the file."""
    lines = ["đường hỏng nặng rồi đó"] * 30 + ["đường chị Xuyến hỏng nặng"]
    learn_diacritics(lines, tmp_path / "d.npz", {"syllable": 5, "bigram": 5, "trigram": 5})
    assert Diacritics.load(tmp_path / "d.npz").restore("chi xuyen duong hong nang") == "chi xuyen đường hỏng nặng"


def test_lines_without_marks_teach_nothing(tmp_path: Path) -> None:
    learn_diacritics(["đường hỏng nặng rồi đó"] * 3 + ["duong hong nang roi do"] * 50, tmp_path / "d.npz", ALL)
    assert Diacritics.load(tmp_path / "d.npz").restore("duong hong nang roi do") == "đường hỏng nặng rồi đó"


def test_old_and_new_tone_places_are_one(tmp_path: Path) -> None:
    learn_diacritics(["hoà giải rồi thuỷ lợi quý"] * 3, tmp_path / "d.npz", ALL)
    assert Diacritics.load(tmp_path / "d.npz").restore("hoa giai roi thuy loi quy") == "hòa giải rồi thủy lợi quý"


def test_a_restorer_by_its_config(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(sentences(400)), encoding="utf-8")
    rows = [json.dumps({"text": f"{text}\nXin cảm ơn."}, ensure_ascii=False) for text in sentences(40)]
    (tmp_path / "p.jsonl").write_text("\n".join(rows), encoding="utf-8")
    values = {"corpus_root": str(tmp_path), "sources": [{"path": "a.txt", "lines": 300}], "held_out": 20}
    config = TypeAdapter(DiacriticsConfig).validate_python({**values, "petitions": str(tmp_path / "p.jsonl")})
    report = make_restorer(config, tmp_path / "out" / "diacritics.npz")
    assert report["syllables"] > 200
    assert report["restored"] > 0.9
    assert Diacritics.load(tmp_path / "out" / "diacritics.npz").restore("xin cam on ba con thon xom") != ""


def test_length_stays_and_marked_text_is_left_alone(restorer: Diacritics) -> None:
    for text in sentences(30):
        bare = strip_diacritics(text)
        assert len(restorer.restore(bare)) == len(bare)
        assert restorer.restore(text) == text


@pytest.mark.parametrize("text", ["", "...", "123 456", "the road is broken please repair it soon", "🙏🙏", "a"])
def test_what_is_no_bare_vietnamese_stays(restorer: Diacritics, text: str) -> None:
    assert restorer.restore(text) == text
