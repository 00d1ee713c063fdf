"""Explanations of the shipped model on petitions of our own, and their cost with a network that counts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nlp_service.bundle import load_bundle
from nlp_service.encoder import Encoder, Runtime, Windows
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.explain import BUDGET, LEAST, Explanation, Grounds, explain
from nlp_service.occlusion import Occlusion
from nlp_service.pipeline import PetitionClassifier
from nlp_service.reading import load_reader
from nlp_service.taxonomy import Taxonomy
from nlp_service.text import normalise, strip_diacritics
from tests.nlp_service.conftest import FakeSegmenter, FixedEncoder, WriteModel

ROOT = Path(__file__).resolve().parents[2]
SMOKE = (
    "Bãi rác đầu thôn đốt cả ngày, khói và mùi khét bay vào trường mầm non, trẻ em ho suốt. Đề nghị xã cho dừng đốt."
)
WATER = "Nước đang dâng lên sát nhà tôi cạnh sông, kè đang sạt, xin xã đến xem."
FLOOD = "Nước dâng tới mái rồi, bà cụ và hai cháu nhỏ đang mắc kẹt trên nóc nhà, xin cho xuồng vào cứu."


class CountingEncoder:
    """An encoder that remembers what it was given."""

    def __init__(self, encoder: Encoder) -> None:
        self.name = encoder.name
        self.windows: list[list[int]] = []
        self._encoder = encoder

    @property
    def positions(self) -> int:
        return sum(map(len, self.windows))

    def run(self, windows: Windows) -> dict[str, npt.NDArray[np.float32]]:
        self.windows += [list(window) for window in windows]
        return self._encoder.run(windows)


@pytest.fixture(scope="module")
def shipped() -> PetitionClassifier:
    return PetitionClassifier.load(ROOT / "models" / "current", Runtime.ONNXRUNTIME)


def counting(classifier: PetitionClassifier) -> tuple[PetitionClassifier, CountingEncoder]:
    """The same classifier with a network that counts."""
    encoder = CountingEncoder(classifier.encoder)
    parts = classifier.bundle, classifier.reader, encoder, classifier.lexicon, classifier.linear
    return PetitionClassifier(*parts), encoder


def small(write_model: WriteModel, taxonomy: Taxonomy) -> tuple[PetitionClassifier, CountingEncoder]:
    """A classifier with small windows, a fixed network and no linear model."""
    bundle = load_bundle(write_model(window=12, window_overlap=2))
    encoder = CountingEncoder(FixedEncoder.for_taxonomy(taxonomy))
    reader = load_reader(bundle.directory, FakeSegmenter(), 12, 2, False)
    return PetitionClassifier(bundle, reader, encoder), encoder


def words_for(grounds: Grounds) -> list[str]:
    return [span.words.lower() for span in grounds.spans if span.weight > 0]


def left_out(text: str, places: Sequence[tuple[int, int]]) -> str:
    for start, end in sorted(places, reverse=True):
        text = text[:start] + text[end:]
    return text


@pytest.mark.parametrize(
    ("text", "category", "named"),
    [
        (SMOKE, "environment_resources", {"rác", "đốt", "mùi"}),
        ("Cột điện trước cổng trường bị nghiêng, dây sà xuống đường.", "electricity_telecom_lighting", {"điện", "dây"}),
        ("Lịch tiêm chủng ở trạm y tế xã đổi mà không báo cho dân.", "health_food_safety", {"tiêm chủng", "y tế"}),
    ],
)
def test_the_words_that_name_the_matter_come_first(
    shipped: PetitionClassifier, text: str, category: str, named: set[str]
) -> None:
    grounds = explain(shipped, text).category
    assert grounds.label.id == category
    assert named <= set(words_for(grounds)[:5])
    assert "đề nghị" not in words_for(grounds)


@pytest.mark.parametrize("typed", [SMOKE, strip_diacritics(SMOKE), SMOKE.upper(), f"  {SMOKE}\n\n\u200b{SMOKE} "])
def test_places_cut_out_exactly_the_words_as_they_were_typed(shipped: PetitionClassifier, typed: str) -> None:
    shown = normalise(typed)
    explanation = explain(shipped, typed)
    spans = [*explanation.category.spans, *explanation.urgency.spans]
    assert len(spans) > 5
    for span in spans:
        assert span.places
        for start, end in span.places:
            assert shown[start:end].lower() == span.words.lower()
    burning = next(span for span in spans if strip_diacritics(span.words).lower() in {"dot", "rac"})
    assert shown[slice(*burning.places[0])] in typed


def test_a_span_holds_every_place_where_the_word_stands(shipped: PetitionClassifier) -> None:
    burning = next(span for span in explain(shipped, SMOKE).category.spans if span.words == "đốt")
    assert len(burning.places) == SMOKE.count("đốt") == 2


def test_a_text_whose_letters_cannot_be_counted_is_explained_without_places(shipped: PetitionClassifier) -> None:
    # "İ" is two letters in lower case: the wording is longer than what the citizen wrote.
    explanation = explain(shipped, "BÃI RÁC İ ĐẦU THÔN ĐỐT CẢ NGÀY BAY KHÓI VÀO TRƯỜNG HỌC")
    assert "rác" in words_for(explanation.category)
    assert all(span.places == () for span in explanation.category.spans)


def test_words_that_the_segmenter_respells_beyond_counting_still_have_their_names() -> None:
    class Shortening(FakeSegmenter):
        def segment(self, text: str) -> str:
            return text.replace("ngh", "ng")

    reader = load_reader(ROOT / "models" / "encoder", Shortening(), 256, 64, False)
    words, text = reader.words("đề nghị xã")
    assert text == "đề ngị xã"
    assert [text[word.start : word.end] for word in words] == ["đề", "ngị", "xã"]


@pytest.mark.parametrize("text", ["a_b __ c", "__ đường __hỏng_ nặng", "Bãi rác, đốt khói! 😭😭 (ho suốt)"])
def test_words_have_the_ids_and_the_places_that_the_model_reads(shipped: PetitionClassifier, text: str) -> None:
    reader = shipped.reader
    words, stands_in = reader.words(text)
    assert stands_in == text
    assert [identity for word in words for identity in word.ids] == reader.windows(text)[0][1:-1]
    segmented = reader.segmenter.segment(text).split()
    for word, piece in zip(words, segmented, strict=True):
        read = text[word.start : word.end]
        assert [letter for letter in read if letter not in " _"] == [letter for letter in piece if letter != "_"]


def test_only_the_strongest_words_are_shown(shipped: PetitionClassifier) -> None:
    many_for, many_against = explain(shipped, FLOOD).category.spans, explain(shipped, SMOKE).category.spans
    assert sum(span.log_odds > 0 for span in many_for) == 8
    assert sum(span.log_odds < 0 for span in many_against) == 3
    for spans in (many_for, many_against):
        strengths = [abs(span.log_odds) for span in spans]
        speaking_for = sum(span.log_odds > 0 for span in spans)
        for part in (strengths[:speaking_for], strengths[speaking_for:]):
            assert part == sorted(part, reverse=True)


def test_the_explained_answer_is_the_served_answer(shipped: PetitionClassifier) -> None:
    for text in (SMOKE, WATER, strip_diacritics(FLOOD), f"{SMOKE} {WATER} " * 12):
        explanation, decision = explain(shipped, text), shipped.classify(text).decision
        for grounds, scored in ((explanation.category, decision.category), (explanation.urgency, decision.urgency)):
            assert grounds.label.id == scored.id
            assert grounds.label.probability == pytest.approx(scored.probability, abs=1e-3)


def test_without_the_strongest_words_the_category_is_less_probable(shipped: PetitionClassifier) -> None:
    text = "Luật mới có giới hạn mức phí chung cư không, hay cư dân tự thỏa thuận?"
    grounds = explain(shipped, text).category
    strongest = grounds.spans[0]
    assert strongest.weight > 0.1
    again = shipped.classify(left_out(text, strongest.places)).decision
    scores = {scored.id: scored.probability for scored in (again.category, *again.alternatives)}
    fall = grounds.label.probability - scores.get(grounds.label.id, 0.0)
    assert fall == pytest.approx(strongest.weight, abs=0.1)


@pytest.mark.parametrize("text", [WATER, strip_diacritics(WATER), WATER.upper()])
def test_without_the_turning_words_the_urgency_is_another_one(shipped: PetitionClassifier, text: str) -> None:
    explanation = explain(shipped, text)
    turning = explanation.turning
    assert explanation.urgency.label.id == "emergency" and turning is not None
    assert turning.urgency.id != "emergency"
    assert shipped.classify(left_out(text, turning.places)).decision.urgency.id == turning.urgency.id
    quoted = ", ".join(f"«{words}»" for words in turning.words)
    assert f"Nếu bỏ {quoted} thì mức khẩn là {turning.urgency.name}." in explanation.sentences


def test_what_turns_only_together_is_found(shipped: PetitionClassifier) -> None:
    text = "Đường hỏng nặng quá rồi, ổ gà khắp nơi, xe máy ngã suốt"
    turning = explain(shipped, text).turning
    assert turning is not None and len(turning.places) > 1
    for start, end in turning.places:
        assert shipped.classify(left_out(text, [(start, end)])).decision.urgency.id == "normal"
    assert shipped.classify(left_out(text, turning.places)).decision.urgency.id == turning.urgency.id != "normal"


def test_the_clerk_reads_how_near_the_alarm_is_and_what_the_lexicon_found(shipped: PetitionClassifier) -> None:
    calm, flooded = explain(shipped, SMOKE), explain(shipped, FLOOD)
    assert calm.emergency < calm.threshold == shipped.bundle.manifest.thresholds.emergency
    assert f"Xác suất khẩn cấp {calm.emergency:.0%}, dưới ngưỡng báo động {calm.threshold:.0%}." in calm.sentences
    assert calm.sign is None and not any("Từ vựng" in sentence for sentence in calm.sentences)
    assert flooded.sign == "người mắc kẹt giữa nước lũ"
    assert any(sentence.startswith(f"Từ vựng khẩn cấp nhận ra: {flooded.sign} («") for sentence in flooded.sentences)
    assert any("đạt ngưỡng" in sentence for sentence in flooded.sentences)


def test_an_alarm_of_the_lexicon_alone_turns_with_its_words(shipped: PetitionClassifier) -> None:
    # With a network that sees no emergency, the words of the sign are what holds the level up.
    calm = np.array([-9, 0, 3, 0], np.float32)
    parts = shipped.bundle, shipped.reader, ConstantEncoder(shipped.encoder, calm), shipped.lexicon, None
    explanation = explain(PetitionClassifier(*parts), FLOOD)
    assert explanation.urgency.label.id == "emergency" and explanation.sign
    turning = explanation.turning
    assert turning is not None and turning.urgency.id == "normal"
    assert shipped.lexicon is not None and shipped.lexicon.find(left_out(FLOOD, turning.places)) is None


class ConstantEncoder:
    """A network whose urgency is always the same."""

    def __init__(self, encoder: Encoder, urgency: npt.NDArray[np.float32]) -> None:
        self.name = encoder.name
        self._encoder, self._urgency = encoder, urgency

    def run(self, windows: Windows) -> dict[str, npt.NDArray[np.float32]]:
        outputs = self._encoder.run(windows)
        return {**outputs, "urgency": np.tile(self._urgency, (len(windows), 1))}


def test_another_label_is_explained_without_reading_again(shipped: PetitionClassifier) -> None:
    classifier, encoder = counting(shipped)
    text = "Cống thoát nước trước nhà vỡ nắp, nước thải tràn ra ngõ bốc mùi hôi thối, xe đi qua dễ sụp bánh."
    explanation = explain(classifier, text)
    read = encoder.positions
    decision = classifier.classify(text).decision
    read_by_classify = encoder.positions - read
    other = explanation.for_label(decision.alternatives[0].id)
    assert encoder.positions == read + read_by_classify
    assert other.label.probability == pytest.approx(decision.alternatives[0].probability, abs=1e-3)
    assert other.spans and words_for(other) != words_for(explanation.category)
    assert explanation.for_label("emergency").label.probability == pytest.approx(explanation.emergency, abs=1e-4)
    with pytest.raises(KeyError):
        explanation.for_label("no_such_label")


LETTER = f"{SMOKE} Nguồn nước giếng của xóm cũng có mùi, cán bộ xã đã ghi nhận nhưng chưa trả lời. {WATER} "


@pytest.mark.parametrize(
    "text",
    [
        "Rác",
        "1",
        "😭😭😭 !!! a ?!",
        "?! … a",
        SMOKE,
        f"{SMOKE} " * 3,
        LETTER * 6,
        LETTER * 20,
        "rác " * 12_000,
        "a" * 50_000,
    ],
    ids=lambda text: f"{len(text)} characters",
)
def test_any_text_is_explained_within_the_budget(shipped: PetitionClassifier, text: str) -> None:
    classifier, encoder = counting(shipped)
    explanation = explain(classifier, text)
    once = sum(map(len, classifier.tokenise(text)))
    assert encoder.positions == explanation.positions <= max(BUDGET, once + LEAST)
    assert encoder.positions > once or len(text) > 5_000
    assert explanation.sentences


def test_a_long_letter_has_words_although_the_network_cannot_read_it_for_each(shipped: PetitionClassifier) -> None:
    other = "Tổ dân phố đã họp, bà con thống nhất ký tên, mong cơ quan có thẩm quyền xem xét và trả lời bằng văn bản. "
    spans = explain(shipped, (LETTER + other) * 8).category.spans
    assert len(spans) >= 3
    assert any(span.estimated for span in spans)
    assert not any(span.estimated for span in explain(shipped, SMOKE).category.spans)


def test_only_windows_that_lose_a_word_are_read_again(write_model: WriteModel, taxonomy: Taxonomy) -> None:
    classifier, encoder = small(write_model, taxonomy)
    text = "đ ư ờ n g h ỏ a à á ả ã ạ b c d e è é ẻ ẽ ẹ i ì í ỉ ĩ ị"
    occlusion = Occlusion(classifier, text)
    whole = list(encoder.windows)
    assert len(whole) == 4
    encoder.windows.clear()
    first, last = len("đ"), len(text.split()) - 1
    (answer,) = occlusion.without([(first,)])
    assert encoder.windows == [[*whole[0][:2], *whole[0][3:]]]
    # What was read before still counts: the mean is over four windows.
    rows = classifier.encoder.run([encoder.windows[0], *whole[1:]])
    assert np.allclose(answer.logits["category"], rows["category"].mean(axis=0), atol=1e-5)
    encoder.windows.clear()
    one, both = occlusion.without([(last,), (first, last)])
    assert len(encoder.windows) == 1 + 2  # the last word stands in the last window alone
    rows = classifier.encoder.run([*whole[:3], encoder.windows[0]])
    assert np.allclose(one.logits["category"], rows["category"].mean(axis=0), atol=1e-5)
    rows = classifier.encoder.run([encoder.windows[1], *whole[1:3], encoder.windows[2]])
    assert np.allclose(both.logits["category"], rows["category"].mean(axis=0), atol=1e-5)


def test_a_word_that_two_windows_share_is_missing_from_both(write_model: WriteModel, taxonomy: Taxonomy) -> None:
    classifier, encoder = small(write_model, taxonomy)
    occlusion = Occlusion(classifier, "a à á ả ã ạ b c d e è é ẻ ẽ ẹ i")
    shared = set(encoder.windows[0][1:-1]) & set(encoder.windows[1][1:-1])
    numbers = [
        number
        for number in range(16)
        if set(classifier.reader.words("a à á ả ã ạ b c d e è é ẻ ẽ ẹ i")[0][number].ids) & shared
    ]
    encoder.windows.clear()
    occlusion.without([(numbers[0],)])
    assert len(encoder.windows) == 2


def test_a_model_without_a_linear_part_is_explained_in_pieces(write_model: WriteModel, taxonomy: Taxonomy) -> None:
    classifier, _ = small(write_model, taxonomy)
    explanation = explain(classifier, "đường hỏng nặng")
    assert isinstance(explanation, Explanation)
    assert explanation.category.spans


def test_what_cannot_be_read_cannot_be_explained(shipped: PetitionClassifier) -> None:
    for text, kind in (("…", ErrorKind.EMPTY_TEXT), (None, ErrorKind.INVALID_REQUEST)):
        with pytest.raises(PetitionError) as caught:
            explain(shipped, text)
        assert caught.value.kind is kind


def test_the_json_names_every_field_and_no_text_is_in_the_repr(shipped: PetitionClassifier) -> None:
    body = explain(shipped, WATER).as_dict()
    assert set(body) == {"category", "urgency", "turning", "emergency", "sentences", "model_version"}
    span = body["category"]["spans"][0]
    assert set(span) == {"words", "places", "weight", "log_odds", "estimated"}
    assert WATER[span["places"][0]["start"] : span["places"][0]["end"]] == span["words"]
