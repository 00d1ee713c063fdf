import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from nlp_service.bundle import HEADS, MANIFEST, load_bundle, resolve, sha256
from nlp_service.decision import softmax
from nlp_service.encoder import FLOAT_FILE, INT8_FILE, OUTPUTS, OnnxEncoder
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.pipeline import PetitionClassifier
from nlp_service.taxonomy import Taxonomy
from tests.training.conftest import Run
from training import export as export_module
from training.calibration import temperature
from training.data import Petition, read_petitions
from training.export import ExportMismatch, export, halve
from training.fit import load_run
from training.provenance import of_fit
from training.reads import read_logits


@pytest.fixture(scope="module")
def dev(petitions_dir: Path, taxonomy: Taxonomy) -> list[Petition]:
    return read_petitions(petitions_dir / "dev.jsonl", taxonomy)


@pytest.fixture
def any_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "MIN_INT8_AGREEMENT", 0.0)


def _torch_outputs(run: Run, windows: list[list[int]]) -> list[np.ndarray]:
    model, _ = load_run(run.directory)
    with torch.inference_mode():
        rows = [model(torch.tensor([window]), torch.ones(1, len(window), dtype=torch.long)) for window in windows]
    return [np.concatenate([row[index].numpy() for row in rows]) for index in range(len(OUTPUTS))]


def test_onnx_answers_as_torch_does(
    run: Run, model_dir: Path, classifier: PetitionClassifier, dev: list[Petition]
) -> None:
    windows = [window for petition in dev for window in classifier.tokenise(petition.text)]
    assert len({len(window) for window in windows}) > 3, "lengths other than the traced one"
    expected = dict(zip(OUTPUTS, _torch_outputs(run, windows), strict=True))
    floats = OnnxEncoder(model_dir / FLOAT_FILE, 1).run(windows)
    int8 = OnnxEncoder(model_dir / INT8_FILE, 1).run(windows)
    for name in HEADS:  # the embedding is another one on purpose: similarity.py
        spread = expected[name].std()
        assert np.abs(floats[name] - expected[name]).max() < 0.02, name
        assert np.abs(int8[name] - expected[name]).max() < 0.5 * spread, name
    agreement = (int8["category"].argmax(axis=1) == expected["category"].argmax(axis=1)).mean()
    assert agreement > 0.9


def test_padded_batches_answer_as_single_windows(run: Run, model_dir: Path, classifier: PetitionClassifier) -> None:
    """OpenVINO is fed padded batches of the same network: the mask must be part of the graph."""
    windows = [
        classifier.tokenise(text)[0] for text in ("Đường hỏng", "Bãi rác bốc mùi hôi thối, khói vào nhà dân thôn 3")
    ]
    longest = max(len(window) for window in windows)
    ids = np.array([window + [1] * (longest - len(window)) for window in windows])
    mask = np.array([[1] * len(window) + [0] * (longest - len(window)) for window in windows])
    assert not mask.all()
    session = onnxruntime.InferenceSession(str(model_dir / FLOAT_FILE), providers=["CPUExecutionProvider"])
    padded = session.run(list(OUTPUTS), {"input_ids": ids, "attention_mask": mask})
    torch = dict(zip(OUTPUTS, _torch_outputs(run, windows), strict=True))
    alone = OnnxEncoder(model_dir / FLOAT_FILE, 1).run(windows)
    for name, got in zip(OUTPUTS, padded, strict=True):
        np.testing.assert_allclose(got, torch[name] if name in HEADS else alone[name], atol=0.02)


@pytest.mark.parametrize("name", ["diacritics.npz", "emergency.yaml", "linear.npz"])
def test_what_is_read_beside_the_network_is_verified_too(tmp_path: Path, model_dir: Path, name: str) -> None:
    directory = tmp_path / "model"
    shutil.copytree(model_dir, directory)
    with (directory / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(PetitionError, match=name) as caught:
        load_bundle(directory)
    assert caught.value.kind is ErrorKind.INVALID_MODEL


def test_a_file_that_the_manifest_does_not_list_is_not_read(tmp_path: Path, model_dir: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(model_dir, directory)
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    del manifest["files"]["emergency.yaml"], manifest["files"]["diacritics.npz"]
    manifest["linear"] = {}
    del manifest["files"]["linear.npz"]
    (directory / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    (directory / "diacritics.npz").write_bytes(b"anything")
    classifier = PetitionClassifier.load(directory)
    assert classifier.lexicon is None
    assert classifier.reader.diacritics is None
    assert classifier.linear is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("diacritics.npz", b"no archive"),
        ("linear.npz", b"no archive"),
        ("emergency.yaml", b"signs: []"),
        ("vocab.txt", b"no count"),
    ],
)
def test_a_verified_file_that_is_not_what_it_should_be_is_a_clear_error(
    tmp_path: Path, model_dir: Path, name: str, content: bytes
) -> None:
    directory = tmp_path / "model"
    shutil.copytree(model_dir, directory)
    (directory / name).write_bytes(content)
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][name] = sha256(directory / name)
    (directory / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(PetitionError, match="export the model again") as caught:
        PetitionClassifier.load(directory)
    assert caught.value.kind is ErrorKind.INVALID_MODEL


@pytest.mark.parametrize("change", ["no file", "other heads"])
def test_a_linear_model_that_does_not_fit_is_refused(tmp_path: Path, model_dir: Path, change: str) -> None:
    directory = tmp_path / "model"
    shutil.copytree(model_dir, directory)
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    if change == "no file":
        del manifest["files"]["linear.npz"]
        manifest["linear"] = {"category": 2.0}
    else:
        with np.load(directory / "linear.npz") as arrays:
            np.savez(directory / "linear.npz", **{**arrays, "sizes": arrays["sizes"][::-1]})
        manifest["files"]["linear.npz"] = sha256(directory / "linear.npz")
    (directory / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(PetitionError, match="other heads") as caught:
        PetitionClassifier.load(directory)
    assert caught.value.kind is ErrorKind.INVALID_MODEL


def test_the_linear_model_takes_part_as_the_manifest_says(model_dir: Path, classifier: PetitionClassifier) -> None:
    weights = classifier.bundle.manifest.linear
    assert weights.keys() == set(HEADS)
    assert classifier.linear is not None
    text = "Đường liên thôn hỏng nặng, đề nghị xã vá đường"
    read = classifier.read_many([text])[0]
    assert not isinstance(read, PetitionError)
    network = OnnxEncoder(model_dir / INT8_FILE, 1).run(classifier.tokenise(text))
    margins = classifier.linear.margins(classifier.reader.wording(text))
    for head in HEADS:
        expected = network[head].mean(axis=0) + weights[head] * margins[head]
        np.testing.assert_allclose(read.logits[head], expected, atol=1e-4)


def test_directory_holds_what_serving_needs(run: Run, model_dir: Path, taxonomy: Taxonomy) -> None:
    beside = {"README.md", "README.vi.md", "reference.json"}
    files = {
        MANIFEST,
        FLOAT_FILE,
        INT8_FILE,
        "vocab.txt",
        "bpe.codes",
        "taxonomy.yaml",
        "diacritics.npz",
        "linear.npz",
        "emergency.yaml",
    }
    assert {path.name for path in model_dir.iterdir()} == files | beside
    assert model_dir.stat().st_mode & 0o055 == 0o055, "readable by the user that serves"
    assert not list(model_dir.parent.glob(".export-*"))
    manifest = load_bundle(model_dir).manifest
    assert manifest.version == "tiny-1"
    assert manifest.files == {name: sha256(model_dir / name) for name in files - {MANIFEST}}
    assert {head: list(manifest.heads[head].labels) for head in HEADS} == run.summary["labels"]
    assert manifest.taxonomy_sha256 == taxonomy.sha256
    assert (manifest.window, manifest.window_overlap) == (run.config.window, run.config.window_overlap)
    assert manifest.trained_on == run.summary["data"]
    assert manifest.provenance == of_fit(run.summary)
    assert manifest.encoder == run.summary["encoder"]


def test_calibration_is_that_of_the_served_network(classifier: PetitionClassifier, dev: list[Petition]) -> None:
    manifest = classifier.bundle.manifest
    logits = read_logits(classifier, [petition.text for petition in dev])
    for head in HEADS:
        spec = manifest.heads[head]
        truth = np.array([spec.labels.index(petition.label(head)) for petition in dev])
        assert spec.temperature == pytest.approx(temperature(logits[head], truth), abs=2e-4)
    column = manifest.heads["urgency"].labels.index("emergency")
    probability = softmax(logits["urgency"], manifest.heads["urgency"].temperature)[:, column]
    real = np.array([petition.urgency == "emergency" for petition in dev])
    assert (probability >= manifest.thresholds.emergency)[real].mean() >= 0.97


def test_a_text_that_cannot_be_read_is_no_logit_row(classifier: PetitionClassifier) -> None:
    with pytest.raises(PetitionError):
        read_logits(classifier, ["Đường hỏng", "..."])


@pytest.mark.parametrize("name", [FLOAT_FILE, INT8_FILE, "vocab.txt", "bpe.codes", "taxonomy.yaml"])
def test_a_changed_file_is_refused_by_name(tmp_path: Path, model_dir: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_dir, copy)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(PetitionError, match=name) as caught:
        load_bundle(copy)
    assert caught.value.kind is ErrorKind.INVALID_MODEL
    (copy / name).unlink()
    with pytest.raises(PetitionError, match=name):
        load_bundle(copy)


def test_an_existing_version_is_never_overwritten(tmp_path: Path, run: Run) -> None:
    output = tmp_path / "models" / "v1"
    output.mkdir(parents=True)
    (output / "mine.txt").write_text("stays")
    with pytest.raises(FileExistsError, match="v1"):
        export(run.directory, output, "v1")
    assert [path.name for path in output.parent.iterdir()] == ["v1"]
    assert (output / "mine.txt").read_text() == "stays"


def _nothing_written(models: Path) -> bool:
    return not models.exists() or not list(models.iterdir())


def test_floats_that_answer_otherwise_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, any_int8: None
) -> None:
    def damaging(network: onnx.ModelProto, *args: Any, **options: Any) -> onnx.ModelProto:
        for tensor in network.graph.initializer:
            if tensor.name == "heads.urgency.bias":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.05), tensor.name))
                return halve(network, *args, **options)
        return halve(network, *args, **options)

    monkeypatch.setattr(export_module, "halve", damaging)
    with pytest.raises(ExportMismatch, match=r"model\.onnx differs from torch by 0\.0[45].* in urgency"):
        export(run.directory, tmp_path / "models" / "v1", "v1")
    assert _nothing_written(tmp_path / "models")


def test_int8_that_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    original: Callable[..., None] = export_module.quantize_dynamic

    def damaging(source: str, target: str, **options: Any) -> None:
        network = onnx.load(source)
        for tensor in network.graph.initializer:
            if tensor.name == "heads.category.bias":
                values = numpy_helper.to_array(tensor).copy()
                values[0] += 50
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        onnx.save(network, source)
        original(source, target, **options)

    monkeypatch.setattr(export_module, "quantize_dynamic", damaging)
    with pytest.raises(ExportMismatch, match=r"model\.int8\.onnx agrees with torch on 0\.\d+ of 42 categories"):
        export(run.directory, tmp_path / "models" / "v1", "v1")
    assert _nothing_written(tmp_path / "models")


def test_an_export_that_is_stopped_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    def stopped(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export_module, "calibrated_manifest", stopped)
    monkeypatch.setattr(export_module, "_compare", lambda *args: None)
    with pytest.raises(KeyboardInterrupt):
        export(run.directory, tmp_path / "models" / "v1", "v1")
    assert _nothing_written(tmp_path / "models")


def test_an_unfinished_run_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        export(tmp_path / "run", tmp_path / "models" / "v1", "v1")
    assert _nothing_written(tmp_path / "models")


def _network(width: int) -> onnx.ModelProto:
    generator = np.random.default_rng(1)
    weights = [generator.normal(0, 0.1, (width, width)).astype(np.float32) for _ in range(2)]
    bias = generator.normal(0, 0.1, width).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["a"]),
            helper.make_node("Add", ["a", "bias"], ["b"]),
            helper.make_node("Tanh", ["b"], ["c"]),
            helper.make_node("MatMul", ["c", "second"], ["y"]),
        ],
        "two layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, width])],
        [
            numpy_helper.from_array(value, name)
            for name, value in (("first", weights[0]), ("second", weights[1]), ("bias", bias))
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_halving_keeps_answers_and_halves_the_file(tmp_path: Path) -> None:
    network = _network(256)
    onnx.save(network, tmp_path / "full.onnx")
    halved = halve(onnx.load(tmp_path / "full.onnx"))
    onnx.save(halved, tmp_path / "half.onnx")
    share = (tmp_path / "half.onnx").stat().st_size / (tmp_path / "full.onnx").stat().st_size
    assert 0.49 < share < 0.52
    types = {tensor.name: tensor.data_type for tensor in halved.graph.initializer}
    assert types == {
        "first_fp16": TensorProto.FLOAT16,
        "second_fp16": TensorProto.FLOAT16,
        "bias": TensorProto.FLOAT,
    }
    x = np.random.default_rng(2).normal(size=(8, 256)).astype(np.float32)
    full, half = (
        onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for name in ("full.onnx", "half.onnx")
    )
    np.testing.assert_allclose(half, full, atol=1e-2)
    assert not np.array_equal(half, full)


def test_networks_are_of_the_sizes_they_say(run: Run, model_dir: Path) -> None:
    floats = sum(tensor.numel() for tensor in load_run(run.directory)[0].parameters())
    assert os.path.getsize(model_dir / FLOAT_FILE) < 2.6 * floats + 60_000  # two bytes a weight, and the graph
    types = {tensor.data_type for tensor in onnx.load(model_dir / INT8_FILE).graph.initializer}
    assert TensorProto.INT8 in types


def test_a_pointer_file_opens_the_version_it_names(tmp_path: Path, model_dir: Path) -> None:
    (tmp_path / "tiny-1").symlink_to(model_dir)
    (tmp_path / "current").write_text("tiny-1\n", encoding="utf-8")
    assert resolve(tmp_path / "current") == tmp_path / "tiny-1"
    assert load_bundle(tmp_path / "current").manifest.version == "tiny-1"
