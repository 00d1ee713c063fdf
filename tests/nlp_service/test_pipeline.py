"""The six steps put together, with a fixed network and a segmenter for which every syllable is a word."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlp_service.bundle import Bundle, load_bundle
from nlp_service.diacritics import Diacritics
from nlp_service.emergency import load_lexicon
from nlp_service.encoder import OUTPUTS, Encoder
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.pipeline import Classification, PetitionClassifier
from nlp_service.reading import Reader, load_reader
from nlp_service.segment import Segmenter
from nlp_service.taxonomy import Taxonomy
from nlp_service.text import strip_diacritics
from nlp_service.tokens import BOS, EOS
from tests.nlp_service.conftest import FakeSegmenter, FixedEncoder, WriteModel

ROOT = Path(__file__).resolve().parents[2]
SHIPPED_DIACRITICS = Diacritics.load(ROOT / "models" / "encoder" / "diacritics.npz")
LEXICON = ROOT / "datasets" / "emergency.yaml"
WINDOW = {"window": 34, "window_overlap": 8}


@pytest.fixture
def encoder(taxonomy: Taxonomy) -> FixedEncoder:
    return FixedEncoder.for_taxonomy(taxonomy)


@pytest.fixture
def classifier(write_model: WriteModel, encoder: FixedEncoder) -> PetitionClassifier:
    bundle = load_bundle(write_model(**WINDOW))
    return PetitionClassifier(bundle, reader_of(bundle), encoder, max_chars=2_000)


def reader_of(bundle: Bundle, diacritics: Diacritics | None = None) -> Reader:
    manifest = bundle.manifest
    reader = load_reader(bundle.directory, FakeSegmenter(), manifest.window, manifest.window_overlap, False)
    return replace(reader, diacritics=diacritics)


def test_marks_and_case_make_no_difference_where_they_can_be_told(
    write_model: WriteModel, encoder: FixedEncoder
) -> None:
    bundle = load_bundle(write_model(**WINDOW))
    classifier = PetitionClassifier(bundle, reader_of(bundle, SHIPPED_DIACRITICS), encoder)
    text = "Đường liên thôn hỏng nặng, đề nghị xã sửa trước mùa mưa."
    expected = classifier.classify(text).as_dict()
    for typed in (strip_diacritics(text), text.upper(), strip_diacritics(text).upper()):
        assert classifier.classify(typed).as_dict() == expected, typed
    without = PetitionClassifier(bundle, reader_of(bundle), encoder)
    assert without.classify(strip_diacritics(text)).as_dict() != expected


def test_the_lexicon_sees_the_text_with_its_marks(write_model: WriteModel, encoder: FixedEncoder) -> None:
    bundle = load_bundle(write_model(**WINDOW))
    classifier = PetitionClassifier(bundle, reader_of(bundle, SHIPPED_DIACRITICS), encoder, load_lexicon(LEXICON))
    texts = ["Nha toi ngap den mai, nam nguoi mac ket tren noc nha", "", "Den duong thon toi tat ba thang nay roi"]
    flooded, empty, calm = classifier.read_many(texts)
    assert isinstance(empty, PetitionError)
    assert not isinstance(flooded, PetitionError) and flooded.sign is not None
    assert not isinstance(calm, PetitionError) and calm.sign is None
    assert classifier.classify(texts[0]).decision.urgency.id == "emergency"


def plain(answers: list[Classification | PetitionError]) -> list[object]:
    return [answer.as_dict() for answer in answers]


def test_the_fakes_are_what_they_stand_for(encoder: FixedEncoder) -> None:
    stands: tuple[Encoder, Segmenter] = (encoder, FakeSegmenter())
    one, two = [BOS, 5, EOS], [BOS, 6, 7, EOS]
    both = stands[0].run([one, two])
    assert set(both) == set(OUTPUTS)
    assert all(np.array_equal(both[name][1:], stands[0].run([two])[name]) for name in OUTPUTS)
    assert both["category"].shape == (2, 21)


petition = st.one_of(st.text(st.sampled_from("ađưòng hỏ12.,"), max_size=120), st.none(), st.integers(), st.just("?! …"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(petition, max_size=8), st.randoms(use_true_random=False))
def test_what_stands_beside_a_petition_changes_nothing(
    classifier: PetitionClassifier, texts: list[object], shuffle: random.Random
) -> None:
    alone = [classifier.classify_many([text])[0] for text in texts]
    assert plain(classifier.classify_many(texts)) == plain(alone)
    order = shuffle.sample(range(len(texts)), len(texts))
    shuffled = classifier.classify_many([texts[i] for i in order])
    assert plain(shuffled) == plain([alone[i] for i in order])


def test_what_cannot_be_read_has_its_error_in_its_place(classifier: PetitionClassifier, encoder: FixedEncoder) -> None:
    answers = classifier.classify_many(["đường hỏng", None, "…", "a" * 2_001, "mất điện"])
    kinds = [answer.kind if isinstance(answer, PetitionError) else "read" for answer in answers]
    assert kinds == ["read", ErrorKind.INVALID_REQUEST, ErrorKind.EMPTY_TEXT, ErrorKind.TEXT_TOO_LONG, "read"]
    assert encoder.calls == [2]


def test_the_network_is_left_alone_when_there_is_nothing_to_read(
    classifier: PetitionClassifier, encoder: FixedEncoder
) -> None:
    assert classifier.classify_many([]) == []
    assert isinstance(classifier.classify_many([""])[0], PetitionError)
    assert encoder.calls == []
    with pytest.raises(PetitionError) as caught:
        classifier.classify("")
    assert caught.value.kind is ErrorKind.EMPTY_TEXT


def test_a_long_letter_is_read_to_its_end_and_averaged(classifier: PetitionClassifier, encoder: FixedEncoder) -> None:
    text = "đường hỏng nặng " * 10
    windows = classifier.tokenise(text)
    assert len(windows) > 3 and all(len(window) == 34 for window in windows)
    read = classifier.read_many([text])[0]
    assert not isinstance(read, PetitionError)
    rows = encoder.run(windows)
    assert read.windows == len(windows)
    for head in ("category", "urgency", "petition_type"):
        assert np.allclose(read.logits[head], rows[head].mean(axis=0))
    assert np.allclose(read.embedding, rows["embedding"].mean(axis=0))
    assert classifier.classify(text).windows == len(windows)
    # Another ending is another answer: nothing is cut off silently.
    assert classifier.classify(text + "cháy nhà").as_dict() != classifier.classify(text).as_dict()


def test_how_a_text_was_typed_changes_nothing(classifier: PetitionClassifier) -> None:
    composed, decomposed = "đường hỏng", "đươ\u0300ng ho\u0309ng"
    expected = classifier.classify(composed).as_dict()
    for text in (
        decomposed,
        f"\ufeff  {composed}\r\n",
        composed.replace(" ", "\u00a0"),
        composed.replace("h", "h\u200b"),
    ):
        assert classifier.classify(text).as_dict() == expected


def test_the_answer_names_what_it_was_read_by(classifier: PetitionClassifier) -> None:
    answer = classifier.classify("đường hỏng")
    assert (answer.model_version, answer.windows, answer.embedding.shape) == ("tiny-1", 1, (8,))
    assert answer.taxonomy_version == classifier.bundle.taxonomy.version
    assert replace(answer, windows=2).as_dict()["windows"] == 2


def test_a_model_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PetitionError, match=r"manifest\.json is missing") as caught:
        PetitionClassifier.load(tmp_path / "models")
    assert caught.value.kind is ErrorKind.INVALID_MODEL


def test_a_long_letter_takes_nothing_from_its_neighbours(classifier: PetitionClassifier, encoder: FixedEncoder) -> None:
    texts = ["mất điện", "đường hỏng nặng " * 10, "nước đục", None, "rác thải đổ ra kênh " * 6, "đòi đất"]
    together = classifier.classify_many(texts)
    assert len(encoder.calls) == 1
    assert plain(together) == plain([classifier.classify_many([text])[0] for text in texts])


def test_segmenting_ahead_of_the_network_changes_no_answer(write_model: WriteModel, encoder: FixedEncoder) -> None:
    bundle = load_bundle(write_model(**WINDOW))
    texts: list[object] = [f"Đường số {number} hỏng. " * (1 + number % 5) for number in range(30)]
    texts[3], texts[17] = "", 5
    plain = PetitionClassifier(bundle, reader_of(bundle), encoder, max_chars=2_000)
    ahead = PetitionClassifier(bundle, reader_of(bundle), encoder, max_chars=2_000, ahead=True)
    expected, answers = plain.classify_many(texts), ahead.classify_many(texts)
    for wanted, got in zip(expected, answers, strict=True):
        assert type(wanted) is type(got) and wanted.as_dict() == got.as_dict()
    assert isinstance(answers[3], PetitionError) and isinstance(answers[17], PetitionError)
