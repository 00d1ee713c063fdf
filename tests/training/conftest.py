"""Tiny real things, made once a session: a teacher, an encoder in PhoBERT's format, petitions, a run, a model directory."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read when huggingface_hub is first imported: no test may ask the network.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from transformers import RobertaConfig, RobertaModel

from nlp_service.diacritics import Diacritics
from nlp_service.encoder import Runtime
from nlp_service.pipeline import PetitionClassifier
from nlp_service.segment import UndertheseaSegmenter
from nlp_service.taxonomy import Taxonomy, load_taxonomy
from nlp_service.tokens import PhobertTokens
from tests.training.e5s1 import TinyE5, write_e5s1
from training import corpus, export, precision
from training.data import Petition, write_petitions
from training.diacritics import learn_diacritics
from training.distil import save_encoder
from training.fit import FitConfig, fit
from training.vocabulary import learn

ROOT = Path(__file__).resolve().parents[2]
TAXONOMY_FILE = ROOT / "datasets" / "taxonomy.yaml"
VOCABULARY = 360

PLACES = ("Hoằng Châu", "Thiệu Quang", "Nga An", "Quảng Bình", "Đông Sơn", "Thọ Xuân", "Cẩm Thủy", "Như Thanh")
ASKS = ("đề nghị xã", "mong ủy ban nhân dân tỉnh", "kính đề nghị cơ quan chức năng", "xin cấp trên")
# category, urgency, petition type, story
STORIES = (
    (
        "transport_infrastructure",
        "normal",
        "feedback",
        "đường liên thôn hỏng nặng, ổ gà sâu, xe máy ngã, {ask} vá đường",
    ),
    (
        "environment_resources",
        "normal",
        "recommendation",
        "bãi rác bốc mùi hôi thối, khói đốt rác vào nhà, {ask} dời bãi",
    ),
    (
        "disaster_fire_rescue",
        "emergency",
        "feedback",
        "nước lũ dâng cao, bốn người mắc kẹt trên mái nhà, {ask} cứu gấp",
    ),
    ("official_conduct", "urgent", "denunciation", "cán bộ địa chính nhận tiền rồi không làm, tôi tố cáo, {ask} xử lý"),
    (
        "site_clearance_compensation",
        "low",
        "complaint",
        "thu hồi đất bồi thường thấp, tôi khiếu nại giá, {ask} tính lại",
    ),
    ("electricity_telecom_lighting", "low", "other", "cột điện nghiêng, đèn đường tắt nhiều tháng, {ask} sửa đèn điện"),
)


def sentences(count: int) -> list[str]:
    """Different simple sentences, the same on every call."""
    made = (
        f"{start} {place} {story.format(ask=ask)} {end}".strip()
        for end, start, (*_, story), place, ask in itertools.product(
            ("", "trong tháng này.", "trước mùa mưa bão!"), ("Ở", "Tại thôn 3,", "Bà con"), STORIES, PLACES, ASKS
        )
    )
    rows = list(made)
    # 7 has no factor in common with the number of rows: neighbours tell different stories.
    return [rows[i * 7 % len(rows)] for i in range(count)]


def tiny_roberta(vocabulary: int, **changes: Any) -> RobertaConfig:
    """PhoBERT's shape, two layers of 32."""
    return RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=258,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        **changes,
    )


def make_petitions(count: int, start: int = 0) -> list[Petition]:
    """Petitions that take the stories by turns; one in six names a second category, one in seven is a titled letter."""
    petitions = []
    for number in range(start, start + count):
        category, urgency, petition_type, story = STORIES[number % len(STORIES)]
        text = f"Ở {PLACES[number // 6 % 8]} {story.format(ask=ASKS[number // 2 % 4])}."
        if number % 7 == 0:
            text = f"ĐƠN ĐỀ NGHỊ\n{text}"
        petitions.append(
            Petition(
                id=f"p{number}",
                text=text,
                category=category,
                urgency=urgency,
                petition_type=petition_type,
                register="short_letter" if number % 7 == 0 else "portal_report",
                group=f"g{number}",
                secondary=("land_administration",) if category == "site_clearance_compensation" else (),
            )
        )
    return petitions


@dataclass(frozen=True)
class Run:
    """A finished run with the config that made it."""

    directory: Path
    config: FitConfig
    summary: dict[str, Any]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    # Networks this small lose time on a second thread, and sums come out the same on any machine.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def segmenter() -> UndertheseaSegmenter:
    # The cached one of the corpus module: processes forked from here need not load their own.
    return corpus._segmenter()


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    return load_taxonomy(TAXONOMY_FILE)


@pytest.fixture(scope="session")
def segmented(segmenter: UndertheseaSegmenter) -> list[str]:
    return [segmenter.segment(sentence) for sentence in sentences(600)]


@pytest.fixture(scope="session")
def restorer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learnt from the simple sentences."""
    path = tmp_path_factory.mktemp("diacritics") / "diacritics.npz"
    learn_diacritics(sentences(600), path, {"syllable": 1, "bigram": 1, "trigram": 1})
    return path


@pytest.fixture(scope="session")
def restorer(restorer_file: Path) -> Diacritics:
    return Diacritics.load(restorer_file)


@pytest.fixture(scope="session")
def e5s1(tmp_path_factory: pytest.TempPathFactory) -> TinyE5:
    syllables = {syllable for sentence in sentences(600) for syllable in sentence.split()}
    return write_e5s1(tmp_path_factory.mktemp("teacher") / "tiny.bin", syllables)


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory: pytest.TempPathFactory, segmented: list[str]) -> Path:
    """An encoder as `petitions-train encoder` leaves it, with random weights."""
    directory = tmp_path_factory.mktemp("encoder")
    learn(segmented, VOCABULARY, directory)
    torch.manual_seed(1)
    config = tiny_roberta(PhobertTokens.load(directory).size, initializer_range=0.2)
    save_encoder(RobertaModel(config, add_pooling_layer=False), directory, directory)
    return directory


@pytest.fixture(scope="session")
def petitions_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("petitions")
    write_petitions(directory / "train.jsonl", make_petitions(96))
    write_petitions(directory / "dev.jsonl", make_petitions(42, 96))
    write_petitions(directory / "test.jsonl", make_petitions(24, 138))
    return directory


@pytest.fixture(scope="session")
def fit_values(encoder_dir: Path, petitions_dir: Path, restorer_file: Path) -> dict[str, Any]:
    """The TOML of the session's run: rates that move so small a network."""
    return {
        "encoder": str(encoder_dir),
        "data": str(petitions_dir),
        "taxonomy": str(TAXONOMY_FILE),
        "diacritics": str(restorer_file),
        "lexicon": str(ROOT / "datasets" / "emergency.yaml"),
        "epochs": 6,
        "batch_size": 8,
        "learning_rate": 5e-3,
        "head_rate": 2e-2,
        "window": 32,
        "window_overlap": 8,
    }


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, fit_values: dict[str, Any]) -> Run:
    directory = tmp_path_factory.mktemp("runs") / "run"
    config = FitConfig(**fit_values)
    return Run(directory, config, fit(config, directory))


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """An exported model; a network this small may lose more than 3 % of its answers to int8, which is not the point."""
    directory = tmp_path_factory.mktemp("models") / "tiny-1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "MIN_INT8_AGREEMENT", 0.0)
        export.export(run.directory, directory, "tiny-1")
    return directory


@pytest.fixture(scope="session")
def classifier(model_dir: Path) -> PetitionClassifier:
    return PetitionClassifier.load(model_dir, Runtime.ONNXRUNTIME, threads=1)


@pytest.fixture(autouse=True, scope="session")
def full_precision() -> Iterator[None]:
    """The same numbers on every machine; bf16 has a test of its own."""
    patch = pytest.MonkeyPatch()
    patch.setattr(precision, "has_bf16", lambda: False)
    yield
    patch.undo()
