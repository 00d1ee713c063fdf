import pytest

from nlp_service.profile import EDGES, Profile, bins, joined, unknown_share


def _knows(word: str) -> bool:
    return word in {"đường", "hỏng", "nặng", "quá", "rồi"}


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("Đường hỏng nặng", 0.0),
        ("ĐƯỜNG HỎNG NẶNG QUÁ RỒI", 0.0),
        ("duong hong nặng", 2 / 3),
        ("Đường A 12 hỏng, km 3 blockchain", 0.5),  # km and blockchain, not letters and numbers
        ("12 3 ?", None),
    ],
)
def test_words_that_training_did_not_have_are_counted_as_typed(text: str, share: float | None) -> None:
    assert unknown_share(text, _knows) == share


@pytest.mark.parametrize(
    ("value", "bin"), [(0.0, "below 0.3"), (0.3, "0.3 to 0.4"), (0.949, "0.9 to 0.95"), (1.0, "0.95 or more")]
)
def test_a_value_falls_into_one_bin_its_lower_edge_included(value: float, bin: str) -> None:
    profile = Profile()
    profile.add("other", value, None, None)
    assert dict(profile.counts["confidence"]) == {bin: 1}
    assert len(bins("confidence")) == len(EDGES["confidence"]) + 1


def test_a_petition_is_counted_in_every_feature_and_a_masked_text_in_none() -> None:
    profile = Profile()
    profile.add("other", 0.5, "đường  hỏng\nxyz", _knows)
    profile.add("land_administration", 0.5, None, _knows)
    profile.add("other", 0.5, "đường hỏng", None)
    assert {feature: sum(counts.values()) for feature, counts in profile.counts.items()} == {
        "category": 3,
        "confidence": 3,
        "length": 2,
        "unknown": 1,
    }
    assert dict(profile.counts["unknown"]) == {"0.2 to 0.4": 1}
    assert dict((joined([profile, profile]) - profile).counts["category"]) == {"other": 2, "land_administration": 1}
