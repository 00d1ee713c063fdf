from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nlp_service.bundle import resolve
from nlp_service.encoder import OUTPUTS, Runtime, open_encoder

MODEL = resolve(Path(__file__).resolve().parents[2] / "models" / "current")


@pytest.mark.parametrize("runtime", [Runtime.ONNXRUNTIME, Runtime.OPENVINO])
def test_threads_share_an_encoder_and_each_gets_its_own_answers(runtime: Runtime) -> None:
    if runtime is Runtime.OPENVINO:
        pytest.importorskip("openvino", reason="openvino is not installed")
    encoder = open_encoder(MODEL, runtime, 2)
    windows = [[[0, *range(10 + i, 30 + i), 2]] for i in range(8)]
    alone = [encoder.run(window) for window in windows]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(encoder.run, windows * 6))
    for answer, expected in zip(together, alone * 6, strict=True):
        for name in OUTPUTS:
            np.testing.assert_allclose(answer[name], expected[name], atol=0.05)
