from pathlib import Path

import numpy as np
import onnx
import pytest

from nlp_service.bundle import HEADS
from nlp_service.encoder import FLOAT_FILE, INT8_FILE, OnnxEncoder
from nlp_service.pipeline import PetitionClassifier
from nlp_service.taxonomy import Taxonomy
from tests.training.conftest import Run
from training import export
from training.data import read_petitions
from training.fit import load_run
from training.similarity import for_similarity, mean_first_layers


@pytest.fixture(scope="module")
def plain(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks of the run as training left them."""
    directory = tmp_path_factory.mktemp("plain")
    export._write_networks(load_run(run.directory)[0], directory)
    return directory


def _windows(run: Run, classifier: PetitionClassifier, taxonomy: Taxonomy) -> list[list[list[int]]]:
    petitions = read_petitions(Path(run.config.data) / "train.jsonl", taxonomy)
    return [classifier.tokenise(petition.text) for petition in petitions]


@pytest.mark.parametrize("name", [INT8_FILE, FLOAT_FILE])
def test_no_answer_changes(
    plain: Path, model_dir: Path, run: Run, classifier: PetitionClassifier, taxonomy: Taxonomy, name: str
) -> None:
    before, after = OnnxEncoder(plain / name, 1), OnnxEncoder(model_dir / name, 1)
    for windows in _windows(run, classifier, taxonomy)[:5]:
        for head in HEADS:
            np.testing.assert_array_equal(before.run(windows)[head], after.run(windows)[head])


def test_embeddings_of_training_petitions_are_centred_and_white(
    plain: Path, run: Run, classifier: PetitionClassifier, taxonomy: Taxonomy
) -> None:
    windows = _windows(run, classifier, taxonomy)
    for_similarity([plain / FLOAT_FILE], windows)
    network = OnnxEncoder(plain / FLOAT_FILE, 1)
    vectors = np.stack([network.run(petition)["embedding"].mean(axis=0) for petition in windows])
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-2)
    variances = vectors.var(axis=0)
    # Directions that hardly vary are not blown up to one.
    assert variances.max() == pytest.approx(1, abs=0.1) and np.median(variances) > 0


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="no first layer"):
        mean_first_layers(onnx.ModelProto())
