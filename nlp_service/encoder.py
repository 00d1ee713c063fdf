"""The network on CPU: windows of ids in, one row of logits a head and an embedding a window out. No torch.

Two runtimes, chosen by measurement (docs/runtimes.md): ONNX Runtime on int8 weights runs well on every CPU; OpenVINO in
bf16 is faster where the CPU multiplies bf16 in hardware (AMX).
"""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.tokens import PAD

Floats = npt.NDArray[np.float32]
Windows = Sequence[Sequence[int]]

OUTPUTS = ("category", "urgency", "petition_type", "embedding")
INT8_FILE, FLOAT_FILE = "model.int8.onnx", "model.onnx"


class Runtime(StrEnum):
    """What runs the network; `auto` is OpenVINO where the CPU has AMX and OpenVINO is installed."""

    AUTO = "auto"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


class Encoder(Protocol):
    """Reads windows of token ids.

    `run` returns one array a name of `OUTPUTS`, each (windows, width), rows in the order given. A window's row does not
    depend on what else is in the call (bit for bit with ONNX Runtime, to bf16 rounding with OpenVINO).
    """

    name: str

    def run(self, windows: Windows) -> dict[str, Floats]:
        """See the class."""
        ...


def open_encoder(directory: Path, runtime: Runtime = Runtime.AUTO, threads: int = 0) -> Encoder:
    """Open the model directory's network.

    Args:
        threads: CPU threads to use; 0 means all cores this process may use.

    Raises:
        PetitionError: MISSING_EXTRA if OpenVINO is asked for and not installed.
    """
    threads = threads or len(os.sched_getaffinity(0))
    if runtime is Runtime.AUTO:
        runtime = Runtime.OPENVINO if _has_amx() and _has_openvino() else Runtime.ONNXRUNTIME
    if runtime is Runtime.OPENVINO:
        return OpenVinoEncoder(directory / FLOAT_FILE, threads)
    return OnnxEncoder(directory / INT8_FILE, threads)


class OnnxEncoder:
    """ONNX Runtime, one window a run.

    Dynamic int8 takes its activation scale from the whole input tensor, so windows in one batch would change each
    other's answers; alone they do not, no padding is computed, and on CPU a batch would gain under a tenth.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self.name = f"onnxruntime, {path.name}, {threads} threads"
        self._one = _onnx_session(path, threads)
        self._many = _onnx_session(path, 1) if threads > 1 else self._one
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="onnx") if threads > 1 else None

    def run(self, windows: Windows) -> dict[str, Floats]:
        """See `Encoder`."""
        if self._pool is None or len(windows) == 1:
            rows = [_run_onnx(self._one, window) for window in windows]
        else:
            # Longest first: the last one to finish is then a short one.
            order = sorted(range(len(windows)), key=lambda i: -len(windows[i]))
            done = dict(zip(order, self._pool.map(lambda i: _run_onnx(self._many, windows[i]), order), strict=True))
            rows = [done[i] for i in range(len(windows))]
        return {name: np.concatenate([row[index] for row in rows]) for index, name in enumerate(OUTPUTS)}


def _onnx_session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Without spinning, idle threads leave the cores to the segmenter and to other sessions.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run_onnx(session: Any, window: Sequence[int]) -> list[Floats]:
    ids = np.asarray([window], dtype=np.int64)
    outputs: list[Floats] = session.run(list(OUTPUTS), {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return outputs


class OpenVinoEncoder:
    """OpenVINO in the CPU's best precision, windows of like length in batches."""

    BATCH = 16

    def __init__(self, path: Path, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise PetitionError(
                ErrorKind.MISSING_EXTRA,
                "runtime 'openvino' is not installed; pip install 'petitions[openvino]' or use PETITIONS_RUNTIME=onnxruntime",
            ) from error
        core = openvino.Core()
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        compiled = core.compile_model(str(path), "CPU", options)
        self._request = compiled.create_infer_request()
        self._busy = (
            threading.Lock()
        )  # a request serves one thread at a time; a second one would not share the cores, but fight
        precision = str(compiled.get_property("INFERENCE_PRECISION_HINT")).strip("<>").split("'")[-2:]
        self.name = f"openvino {''.join(precision).strip()}, {path.name}, {threads} threads"

    def run(self, windows: Windows) -> dict[str, Floats]:
        """See `Encoder`."""
        order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
        parts: dict[str, list[Floats]] = {name: [] for name in OUTPUTS}
        for start in range(0, len(order), self.BATCH):
            chosen = [windows[i] for i in order[start : start + self.BATCH]]
            longest = max(len(window) for window in chosen)
            ids = np.full((len(chosen), longest), PAD, dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, window in enumerate(chosen):
                ids[row, : len(window)] = window
                mask[row, : len(window)] = 1
            with self._busy:
                outputs = self._request.infer({"input_ids": ids, "attention_mask": mask})
                for name in OUTPUTS:
                    parts[name].append(np.array(outputs[name]))
        back = np.argsort(order)
        return {name: np.concatenate(rows)[back] for name, rows in parts.items()}


def _has_amx() -> bool:
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def _has_openvino() -> bool:
    import importlib.util

    return importlib.util.find_spec("openvino") is not None
