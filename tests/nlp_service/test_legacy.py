import json
import unicodedata
from pathlib import Path

import pytest

from nlp_service.legacy import Encoding, Guess, detect, from_unicode, recover
from nlp_service.text import strip_diacritics

PETITIONS = Path(__file__).parents[2] / "datasets" / "petitions"
OLD = [encoding for encoding in Encoding if encoding is not Encoding.UNICODE]
NO_CAPITALS = (Encoding.TCVN3, Encoding.TCVN3_AS_CP1258, Encoding.VPS)
# Punctuation and symbols that these encodings use for letters.
OWN_SYMBOLS = str.maketrans("–…²®", "-.2.")
ENGLISH = [
    "Don't use the old form; it isn't valid any more.",
    "What? You're sure it's the right office?",
    "Please e-mail a.b@c.vn or call 0900 000 001.",
    "C++ and C# developers: u++, o++, a+b, x^2.",
    "The meeting is at 9 a.m. in Room B (ground floor).",
    "O'Brien's address: 12 High Street, Apt. 4.",
    "I'm adding the add-on to the address book.",
    "He'd said: 'go (to) the U.S.A.' and they'd agreed.",
    "Who? Me? So! No... Yes?",
    "To do: a) read, b) sign, c) send.",
    "See http://example.vn/a?b=c.d and www.thanhhoa.gov.vn.",
    "rock'n'roll, o'clock, ma'am, d'accord",
    "Version 2.0 (beta) costs $5.00 + tax.",
    "Ratio a:b ~ 3:4; e^x and a^2 + b^2.",
    "Do you? I do. We go. So be it.",
    "The café's naïve façade, señor Müller said.",
    "Temperature 25°C, area 12 m², width 5 µm.",
    "Windows® and Toyota™ are © 2024 trade marks.",
    "«Quoted» and “quoted” – and ‘quoted’…",
    "A road is broken near the school gate.",
    "Our house floods every rainy season.",
    "No one has answered our letter since May.",
    "Why is the fee so high?",
    "The bridge is closed. Go round by the river.",
    "Thanks to the commune's staff.",
    "Attn: Mr. Lo, Mrs. Ha. Re: land use.",
    "I've sent it to you. Did you see it?",
    "Add 2 cups; do not overdo it.",
    "na(i) ca(b) to(do) f(a)(b)",
    "path C:\\data\\add and `ls -a`",
]


def petitions(split: str) -> list[str]:
    lines = (PETITIONS / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [unicodedata.normalize("NFC", json.loads(line)["text"]) for line in lines]


@pytest.fixture(scope="module")
def letters() -> list[str]:
    """300 of our petitions, without the few symbols that old encodings have no room for."""
    return [text.translate(OWN_SYMBOLS) for text in petitions("dev")[:300]]


def same(encoding: Encoding, text: str) -> str:
    """What can come back: capitals that share a code with their small letter do not."""
    return text.lower() if encoding in NO_CAPITALS else text


def test_bytes_shown_as_cp1258_are_told_from_those_shown_as_cp1252() -> None:
    text = "Thu tiền điện tháng này cao gấp ba"
    written = from_unicode(text, Encoding.TCVN3_AS_CP1258)
    guess = detect([written])
    assert guess.encoding is Encoding.TCVN3_AS_CP1258
    assert recover(written, guess) == text


def test_words_that_make_no_sense_either_way_are_left_alone() -> None:
    assert detect(["Hµ S¬n Néi qw¬ xz§t f¸k r«z"]).encoding is Encoding.UNICODE


@pytest.mark.parametrize("encoding", [Encoding.VNI, Encoding.CP1258_AS_CP1252])
def test_a_few_cells_that_another_encoding_fits_better_do_not_count(encoding: Encoding) -> None:
    texts = petitions("dev")[850:900]
    cells = [" ".join(text.split()[start : start + 4]) for text in texts for start in (0, 4, 8, 12)]
    assert detect([from_unicode(cell, encoding) for cell in cells]).encodings == (encoding,)


@pytest.mark.parametrize("encoding", OLD)
def test_a_column_is_recognised_and_turned_whole(encoding: Encoding, letters: list[str]) -> None:
    column = [from_unicode(text, encoding) for text in letters]
    guess = detect(column)
    assert guess.encodings == (encoding,)
    assert guess.encoding is encoding
    assert guess.share == 1.0
    assert guess.confidence > 0.95
    assert guess.example is not None and column[guess.example] != letters[guess.example]
    wrong = [
        number
        for number, (written, text) in enumerate(zip(column, letters, strict=True))
        if same(encoding, recover(written, guess)) != same(encoding, text)
    ]
    # One petition in VIQR keeps the name "Bu'k": as a syllable it is none, and so it might be English.
    assert len(wrong) <= (encoding is Encoding.VIQR)


@pytest.mark.parametrize("encoding", OLD)
@pytest.mark.parametrize("every", [2, 20])
def test_in_a_column_pasted_together_only_old_rows_change(encoding: Encoding, every: int, letters: list[str]) -> None:
    column = [text if number % every else from_unicode(text, encoding) for number, text in enumerate(letters)]
    guess = detect(column)
    assert guess.encodings == (encoding,)
    assert guess.share == pytest.approx(1 / every, abs=0.1)
    turned = [recover(text, guess) for text in column]
    untouched = [
        (after, text) for number, (after, text) in enumerate(zip(turned, letters, strict=True)) if number % every
    ]
    assert [after for after, text in untouched] == [text for after, text in untouched]
    wrong = sum(same(encoding, a) != same(encoding, b) for a, b in zip(turned, letters, strict=True))
    assert wrong <= (encoding is Encoding.VIQR)


def test_a_column_in_two_old_encodings_and_unicode(letters: list[str]) -> None:
    ways = [Encoding.TCVN3, Encoding.VNI, Encoding.UNICODE]
    column = [from_unicode(text, ways[number % 3]) for number, text in enumerate(letters)]
    guess = detect(column)
    assert set(guess.encodings) == {Encoding.TCVN3, Encoding.VNI}
    assert [recover(text, guess).lower() for text in column] == [text.lower() for text in letters]


@pytest.mark.parametrize("encoding", OLD)
def test_short_cells_follow_their_column(encoding: Encoding) -> None:
    names = [
        "Nga Sơn",
        "Hà Nội",
        "cá",
        "cỏ",
        "Mường Lát",
        "Thọ Xuân",
        "bé",
        "xã",
        "Lê Lợi",
        "thủ tục",
        "bị",
        "0900 000 001",
    ]
    column = [from_unicode(name, encoding) for name in names]
    assert [recover(text, detect(column)) for text in column] == names


@pytest.mark.parametrize(
    "encoding", [Encoding.TCVN3, Encoding.VNI, Encoding.VISCII, Encoding.UTF8_AS_CP1252, Encoding.VIQR]
)
def test_what_is_right_already_stays_in_an_old_column(encoding: Encoding, letters: list[str]) -> None:
    guess = detect([from_unicode(text, encoding) for text in letters])
    for cell in [
        "Nga Sơn", "Hà Nội", "Đắk Lắk", "XÃ NGA SƠN", "Nestlé", "Müller", "iPhone 15", "5 m²", "(5 µm)", "«abc»", "Toyota®",
        "0900 000 001", "12/3/2024", "", "a.b@c.vn", "https://a.vn/o?x=dd", "address", "Giàng A Pó, bản Suối Tôn",
    ]:  # fmt: skip
        assert recover(cell, guess) == cell


def test_unicode_and_old_letters_in_one_cell_are_turned_word_by_word(letters: list[str]) -> None:
    guess = detect([from_unicode(text, Encoding.TCVN3) for text in letters])
    assert recover("Về việc: ®\xadêng th«n hỏng nÆng, cô giáo ốm", guess) == "Về việc: đường thôn hỏng nặng, cô giáo ốm"


@pytest.mark.parametrize("split", ["dev", "train"])
def test_plain_vietnamese_is_left_alone(split: str) -> None:
    texts = petitions(split)
    assert detect(texts).encoding is Encoding.UNICODE
    changed = [text for text in texts if (guess := detect([text])).encodings or recover(text, guess) != text]
    assert changed == []


def test_vietnamese_without_marks_is_left_alone() -> None:
    texts = [strip_diacritics(text) for text in petitions("dev")]
    assert detect(texts).encoding is Encoding.UNICODE
    assert [text for text in texts if detect([text]).encodings] == []


@pytest.mark.parametrize(
    "texts",
    [
        ENGLISH,
        ["for i in a.b: print(x^2)", "a[i]='o'; u+=1; e?.x", "SELECT 'a' FROM t WHERE a~b", "f(a)(b)", "let y = a?b:c"],
        ["The terms a^n, o^n and e^m of the series grow as the index of each of them does in our first table."],
        ["a.b@c.vn", "ha.noi@gov.vn", "http://a.b.vn/o?x=1", "https://a.vn/p/home?a=b&c=d'"],
        ["5 µm", "12 m²", "25°C", "1½ giờ", "±5", "§ 12", "© 2024", "Windows®", "«trích»", "3×4", "a·b", "x¹ y² z³"],
        ["1", "2,5", "0912 345 678", "12/3/2024", "-", "3.14"],
        ["", "  ", "\n"],
        [],
        ["Krông Búk", "Đắk Lắk", "Pôồn", "Lò Văn Ún", "Hờ Thị Dở", "Giàng A Páo", "Sùng Thị Mỷ"],
        ["xã", "là", "có", "không có", "ông bà", "cá", "tôi", "má", "cô giáo", "hòa", "mùi hôi"],
        ["duowngf hongr nawngj", "nhaf tooi bij ngaapj", "d9u7o7ng2 ho3ng na8ng5", "chuwa ddi laij"],
        ["L'été, nous avons déjeuné à Genève.", "Où est le garçon ?", "août", "forêt", "né à Paris", "Noël", "hôtel"],
        ["Grüße aus München", "Straße", "Müller", "Größe", "Bäcker"],
        ["Él está aquí", "El niño comió piña", "São Paulo não é", "João", "avô", "Malmö", "på", "ö", "går"],
        ["清化省人民委员会", "ภาษาไทย", "русский язык"],
    ],
    ids=lambda texts: texts[0][:12] if texts else "none",
)
def test_other_columns_are_left_alone(texts: list[str]) -> None:
    guess = detect(texts)
    assert guess.encoding is Encoding.UNICODE
    assert guess.example is None
    assert [recover(text, guess) for text in texts] == texts
    assert [text for text in texts if detect([text]).encodings] == []


def test_viqr_marks_that_are_punctuation_stay() -> None:
    guess = Guess.by_a_person(Encoding.VIQR)
    assert recover("To^i mua. Sao? Va^.y a. Xem www.a.vn/o?x, add ca(n ho^. (xa~).", guess) == (
        "Tôi mua. Sao? Vậy ạ Xem www.a.vn/o?x, add căn hộ (xã)."
    )
    assert recover("http://a.vn/xa~hoa/o?x=1 la` ddu'ng", guess) == "http://a.vn/xa~hoa/o?x=1 là đúng"
    assert recover(r"O+? dda^u\? DDo'\.", guess) == "Ở đâu? Đó."


def test_a_person_overrides_a_guess() -> None:
    text = "c¸"
    assert recover(text, detect([text])) == text
    assert recover(text, Guess.by_a_person(Encoding.TCVN3)) == "cá"
    wrong = "Hµ Néi, Thanh Hãa"
    assert recover(wrong, Guess.by_a_person(Encoding.UNICODE)) == wrong
    assert recover("Hà Nội", Guess.by_a_person(Encoding.TCVN3)) == "Hà Nội"
    assert recover("cá", Guess.by_a_person(Encoding.TCVN3)) == "cỏ"
    assert recover("XÃ NGA SƠN", Guess.by_a_person(Encoding.UTF8_AS_CP1252)) == "XÃ NGA SƠN"


def test_decomposed_cells_of_an_old_column_are_composed() -> None:
    written = unicodedata.normalize("NFD", "Nga Sơn, đường thôn")
    assert recover(written, Guess.by_a_person(Encoding.TCVN3)) == "Nga Sơn, đường thôn"


def test_long_runs_without_a_space_take_no_long_time() -> None:
    for run in ("a", "a.", "Ã", "ö", "¸", "x^", "ddu+"):
        text = run * (100_000 // len(run))
        assert not detect([text]).told
        recover(text, Guess.by_a_person(Encoding.VIQR))
