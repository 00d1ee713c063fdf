"""From a finished run to a model directory: torch -> ONNX (fp16 weights and int8), checked against torch, calibrated, hashed."""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

from nlp_service import text
from nlp_service.bundle import HEADS, Head, Manifest, Thresholds, sha256
from nlp_service.diacritics import DIACRITICS_FILE
from nlp_service.emergency import LEXICON_FILE
from nlp_service.encoder import FLOAT_FILE, INT8_FILE, OUTPUTS, OnnxEncoder
from nlp_service.linear import LINEAR_FILE
from nlp_service.pipeline import PetitionClassifier
from nlp_service.reading import load_reader
from nlp_service.segment import UndertheseaSegmenter
from nlp_service.taxonomy import load_taxonomy
from nlp_service.text import check
from nlp_service.tokens import CODES_FILE, VOCABULARY_FILE
from training.calibration import AUTO_PRECISION
from training.data import Petition
from training.fit import load_run
from training.model import PetitionModel
from training.provenance import now, of_fit
from training.reads import read_all, stack
from training.recalibrate import calibrated_manifest, complete, new_version, open_draft
from training.sets import read_sets
from training.similarity import for_similarity

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]

OPTIONAL = (DIACRITICS_FILE, LEXICON_FILE, LINEAR_FILE)
"""Files of a run that serving uses if they are there."""

MAX_FLOAT_DIFFERENCE = 0.02
"""Largest gap of a logit between torch in fp32 and ONNX with fp16 weights."""

MIN_INT8_AGREEMENT = 0.97
"""Share of dev petitions whose best category int8 must leave as torch has it."""


class ExportMismatch(Exception):
    """The exported network does not answer as the trained one does."""


def export(run: Path, output: Path, version: str, auto_precision: float = AUTO_PRECISION) -> Manifest:
    """Write a model directory.

    Raises:
        ExportMismatch: ONNX and torch disagree; nothing is written.
        FileExistsError: `output` is there already: versions are never overwritten.
    """
    with new_version(output) as scratch:
        model, summary = load_run(run)
        for name in (VOCABULARY_FILE, CODES_FILE, "taxonomy.yaml"):
            shutil.copyfile(run / name, scratch / name)
        for name in OPTIONAL:
            if (run / name).exists():
                shutil.copyfile(run / name, scratch / name)
        _write_networks(model, scratch)
        for_similarity([scratch / INT8_FILE, scratch / FLOAT_FILE], _training_windows(summary, scratch))
        dev = read_sets(summary["config"]["data"], load_taxonomy(scratch / "taxonomy.yaml"))["dev"]
        manifest = _calibrated_manifest(model, summary, scratch, dev, version, auto_precision)
        complete(scratch, manifest, dev)
    return manifest


def _training_windows(summary: dict[str, Any], directory: Path) -> list[list[list[int]]]:
    """The training petitions as the network reads them."""
    config = summary["config"]
    reader = load_reader(
        directory,
        UndertheseaSegmenter(),
        config["window"],
        config["window_overlap"],
        diacritics=(directory / DIACRITICS_FILE).exists(),
    )
    petitions = read_sets(config["data"], load_taxonomy(directory / "taxonomy.yaml"))["train"]
    return [reader.windows(reader.wording(check(petition.text))) for petition in petitions]


def _write_networks(model: PetitionModel, directory: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        full, prepared, quantised = (Path(temporary) / f"{name}.onnx" for name in ("full", "prepared", "quantised"))
        _trace(model, full)
        # onnxruntime logs a line for every tensor that it leaves in floats.
        logging.disable(logging.WARNING)
        try:
            quant_pre_process(str(full), str(prepared), skip_symbolic_shape=True)
            quantize_dynamic(
                str(prepared),
                str(quantised),
                per_channel=True,
                weight_type=QuantType.QInt8,
                # Seven bits: with eight, CPUs without VNNI saturate when they add products, and answers differ by machine.
                reduce_range=True,
                # Not the word embeddings: one scale for the whole table changed a further 1 % of the dev categories.
                op_types_to_quantize=["MatMul", "Gemm"],
            )
        finally:
            logging.disable(logging.NOTSET)
        onnx.save(halve(onnx.load(full)), directory / FLOAT_FILE)
        # Only the embedding tables: the scales of the int8 weights stay as they are.
        onnx.save(halve(onnx.load(quantised), smallest=50_000), directory / INT8_FILE)


def _trace(model: PetitionModel, path: Path) -> None:
    ids = torch.full((2, 16), 5)
    axes = {0: "windows", 1: "positions"}
    with warnings.catch_warnings():
        # The tracing exporter is marked deprecated, but its graph is the one that int8 quantisation handles best.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (ids, torch.ones_like(ids)),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=list(OUTPUTS),
            dynamic_axes={
                "input_ids": axes,
                "attention_mask": axes,
                **{name: {0: "windows"} for name in OUTPUTS},
            },
            opset_version=17,
            dynamo=False,
        )


def halve(network: onnx.ModelProto, smallest: int = 1024) -> onnx.ModelProto:
    """Store weights of at least `smallest` numbers in fp16, cast to fp32 where they are used: half the file."""
    casts = []
    for tensor in network.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < smallest:
            continue
        values = numpy_helper.to_array(tensor).astype(np.float16)
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values, name + "_fp16"))
        casts.append(helper.make_node("Cast", [name + "_fp16"], [name], name=name + "_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *network.graph.node]
    del network.graph.node[:]
    network.graph.node.extend(nodes)
    onnx.checker.check_model(network)
    return network


def _calibrated_manifest(
    model: PetitionModel,
    summary: dict[str, Any],
    directory: Path,
    dev: Sequence[Petition],
    version: str,
    auto_precision: float,
) -> Manifest:
    taxonomy = load_taxonomy(directory / "taxonomy.yaml")
    config = summary["config"]
    names = [INT8_FILE, FLOAT_FILE, VOCABULARY_FILE, CODES_FILE, "taxonomy.yaml"]
    names += [name for name in OPTIONAL if (directory / name).exists()]
    draft = Manifest(
        format=1,
        version=version,
        created=now(),
        encoder=summary["encoder"],
        trained_on=summary["data"],
        text_version=text.VERSION,
        segmenter=summary["segmenter"],
        taxonomy_version=taxonomy.version,
        taxonomy_sha256=taxonomy.sha256,
        window=config["window"],
        window_overlap=config["window_overlap"],
        heads={head: Head(labels=tuple(summary["labels"][head]), temperature=1.0) for head in HEADS},
        thresholds=Thresholds(auto=1, suggest=1, emergency=0.5, legal_doubt=0.2),
        files={name: sha256(directory / name) for name in names},
        scores={},
        provenance=of_fit(summary),
    )
    classifier = open_draft(directory, draft)
    reads = read_all(classifier, [petition.text for petition in dev])
    _compare(model, classifier, dev, stack([read.logits for read in reads]), directory)
    return calibrated_manifest(classifier, reads, dev, auto_precision)


@torch.inference_mode()
def _compare(
    model: PetitionModel,
    classifier: PetitionClassifier,
    dev: Sequence[Petition],
    int8: dict[str, Floats],
    directory: Path,
    float_cases: int = 32,
) -> None:
    windows = [classifier.tokenise(petition.text) for petition in dev]
    rows: list[dict[str, Floats]] = []
    for pieces in windows:
        outputs = [model(torch.tensor([piece]), torch.ones(1, len(piece), dtype=torch.long)) for piece in pieces]
        rows.append({head: np.mean([o[i][0].numpy() for o in outputs], axis=0) for i, head in enumerate(HEADS)})
    float_network = OnnxEncoder(directory / FLOAT_FILE, 1)
    for pieces, row in list(zip(windows, rows, strict=True))[:float_cases]:
        served = float_network.run(pieces)
        for head in HEADS:
            gap = float(np.abs(served[head].mean(axis=0) - row[head]).max())
            if gap > MAX_FLOAT_DIFFERENCE:
                raise ExportMismatch(
                    f"{FLOAT_FILE} differs from torch by {gap:.4f} in {head}, limit {MAX_FLOAT_DIFFERENCE}"
                )
    expected = np.stack([row["category"] for row in rows]).argmax(axis=1)
    agreement = float((expected == int8["category"].argmax(axis=1)).mean()) if len(rows) else 1.0
    log.info("int8 leaves the category of %.1f %% of %d dev petitions as torch has it", 100 * agreement, len(rows))
    if agreement < MIN_INT8_AGREEMENT:
        raise ExportMismatch(
            f"{INT8_FILE} agrees with torch on {agreement:.3f} of {len(rows)} categories, limit {MIN_INT8_AGREEMENT}"
        )
