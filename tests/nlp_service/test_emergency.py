from pathlib import Path

import pytest

from nlp_service.emergency import load_lexicon

SHIPPED = Path(__file__).parents[2] / "datasets" / "emergency.yaml"


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("Nhà tôi ở thôn 2, nước ngập đến mái, năm người đang ngồi trên nóc", "trapped_by_water"),
        ("LŨ LÊN NHANH, BÀ CỤ BỊ MẮC KẸT TRONG NHÀ", "trapped_by_water"),
        ("nước ngang ngực rồi mà mẹ em bị liệt", "water_at_height"),
        ("xóm em ngập, ai có thuyền cần giải cứu hai mẹ con", "rescue_asked"),
        ("Bản bị cô lập ba ngày, hết gạo, trẻ con nhịn đói", "out_of_food_cut_off"),
        ("Sạt lở vùi hai nhà, còn người trong đó", "buried"),
    ],
)
def test_signs_are_found(text: str, sign: str) -> None:
    found = load_lexicon(SHIPPED).find(text)
    assert found is not None
    assert found.id == sign


@pytest.mark.parametrize(
    "text",
    [
        "Đèn đường tắt ba tháng nay, đề nghị sửa",
        "Kêu cứu! Cả xóm ngập trong rác",
        "Cả nhà em mắc kẹt trên mái nhà giữa nước lũ đã được cứu, cảm ơn các anh",
        "Năm 2017 nước ngập đến mái nhà tôi, nay xin hỗ trợ làm nhà tránh lũ",
        "Mỗi trận mưa là nước ngập đến bụng, đề nghị khơi cống cho bà con",
        "Phường diễn tập cứu người mắc kẹt giữa nước lũ",
        "",
    ],
)
def test_loud_words_old_floods_and_thanks_are_none(text: str) -> None:
    assert load_lexicon(SHIPPED).find(text) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("unless: []\nsigns:\n  - {id: a, name_vi: b}\n", "needs id, name_vi and all"),
        ("unless: ['(']\nsigns: []\n", "no regular expression"),
        ("signs: []\n", "needs id"),
    ],
)
def test_a_broken_lexicon_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "emergency.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_lexicon(path)
