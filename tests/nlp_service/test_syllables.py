import pytest

from nlp_service.syllables import LETTERS, LOWER, is_syllable


def test_the_alphabet_has_134_marked_letters() -> None:
    assert len(set(LETTERS)) == len(LETTERS) == 134
    assert LETTERS.lower() == LOWER * 2


RIGHT = "nghiêng đường hoà hòa quý quyết gì giếng giữa khuya ngoằn uỷ yếu ở ạ xoong đắk rượu khuếch quốc ghế"
WRONG = "nghà céi kạ ngê cât cầt tàc đườngg néi bộộ müller đc krông iến òô âm̀"


@pytest.mark.parametrize("word", RIGHT.split())
def test_syllables_as_they_are_written(word: str) -> None:
    assert is_syllable(word)


@pytest.mark.parametrize("word", WRONG.split())
def test_what_no_syllable_can_be(word: str) -> None:
    assert not is_syllable(word)
