"""`make bench`: speed and memory in one run, as ratios against what a user would write in an afternoon.

Peers, all on the same petitions and the machine's cores:
(a) the shipped encoder in transformers + torch fp32 with underthesea, one text at a time;
(b) the same in batches of 32, padded, in file order;
(c) as (a) with a model of PhoBERT-base's size (random weights: speed does not depend on them).
Beside them the ceiling: segmentation alone and the model alone on all cores. Three heads of random weights stand on the
peers' encoder, since the shipped model carries its heads in ONNX only.
"""

import argparse
import asyncio
import csv
import json
import multiprocessing
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nlp_service.encoder import Runtime

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "current"
ENCODER = ROOT / "models" / "encoder"
SIXTY = (
    "Kính gửi Ủy ban nhân dân phường, tôi ở tổ dân phố số 4, xin phản ánh đoạn cống thoát nước trước cổng chợ bị vỡ nắp "
    "đã gần hai tháng, xe máy đi buổi tối rất dễ sụp bánh, mấy hôm mưa nước tràn vào nhà dân bốc mùi hôi. Đề nghị phường "
    "cho người xuống thay nắp và nạo vét giúp."
)


def petitions() -> list[str]:
    """The command as it is served: without torch and transformers beside it, where there is such an install."""
    served = ROOT / ".venv" / "bin" / "petitions"
    return [str(served)] if served.exists() else [sys.executable, "-c", "from nlp_service.cli import main; main()"]


def sample(count: int) -> list[str]:
    """The first `count` labelled petitions of the repository by a hash of their id: a natural mix of lengths."""
    rows = [
        json.loads(line)
        for name in ("train", "dev", "test")
        for line in (ROOT / f"datasets/petitions/{name}.jsonl").open(encoding="utf-8")
    ]
    rows.sort(key=lambda row: hash_of(row["id"]))
    return [row["text"] for row in rows[:count]]


def hash_of(text: str) -> int:
    import zlib

    return zlib.crc32(text.encode())


class Peer:
    """What a user would write: transformers, torch fp32, underthesea."""

    def __init__(self, base_size: bool) -> None:
        import torch
        from transformers import PhobertTokenizer, RobertaConfig, RobertaModel
        from underthesea import word_tokenize

        self._torch, self._segment = torch, word_tokenize
        self._tokenizer = PhobertTokenizer.from_pretrained(ENCODER)
        if base_size:
            config = RobertaConfig(
                vocab_size=64001, hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
                intermediate_size=3072, max_position_embeddings=258, type_vocab_size=1,
                pad_token_id=1, bos_token_id=0, eos_token_id=2,
            )  # fmt: skip
            self._model = RobertaModel(config, add_pooling_layer=False).eval()
        else:
            self._model = RobertaModel.from_pretrained(ENCODER, add_pooling_layer=False, dtype=torch.float32).eval()
        width = self._model.config.hidden_size
        self._heads = [torch.nn.Linear(width, size) for size in (21, 4, 5)]

    def answer(self, texts: Sequence[str]) -> list[int]:
        """Best category of every text, cut at 256 positions as most code would."""
        torch = self._torch
        words = [self._segment(text, format="text") for text in texts]
        batch = self._tokenizer(words, padding=True, truncation=True, max_length=256, return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        with torch.inference_mode():
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).float()
            pooled = (hidden * weight).sum(1) / weight.sum(1)
            probabilities = [head(pooled).softmax(-1) for head in self._heads]
        return probabilities[0].argmax(1).tolist()


def per_second(work: Callable[[Sequence[str]], object], texts: Sequence[str], batch: int) -> float:
    """Texts a second, after one warm-up batch."""
    work(texts[:batch])
    started = time.perf_counter()
    for start in range(0, len(texts), batch):
        work(texts[start : start + batch])
    return len(texts) / (time.perf_counter() - started)


def percentiles(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """p50 and p95 of one call, in milliseconds."""
    times = []
    for _ in range(5):
        work()
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times), statistics.quantiles(times, n=20)[18]


def peer_figures(base_size: bool, texts: Sequence[str], repeats: int) -> tuple[float, float, float, float]:
    """p50 and p95 ms of the 60-syllable petition, texts/s one at a time, texts/s in batches of 32."""
    peer = Peer(base_size)
    p50, p95 = percentiles(lambda: peer.answer([SIXTY]), repeats)
    return p50, p95, per_second(peer.answer, texts, 1), 0.0 if base_size else per_second(peer.answer, texts, 32)


def _segment_worker(
    texts: list[str], barrier: "multiprocessing.synchronize.Barrier", out: "multiprocessing.Queue[float]"
) -> None:
    from nlp_service.segment import UndertheseaSegmenter
    from nlp_service.text import normalise

    segmenter = UndertheseaSegmenter()
    segmenter.segment(texts[0])
    barrier.wait()
    started = time.perf_counter()
    for text in texts:
        segmenter.segment(normalise(text))
    out.put(time.perf_counter() - started)


def _model_worker(
    windows: list[list[int]],
    runtime: Runtime,
    barrier: "multiprocessing.synchronize.Barrier",
    out: "multiprocessing.Queue[float]",
) -> None:
    from nlp_service.bundle import resolve
    from nlp_service.encoder import open_encoder

    encoder = open_encoder(resolve(MODEL), runtime, threads=1)
    encoder.run(windows[:8])
    barrier.wait()
    started = time.perf_counter()
    for start in range(0, len(windows), 256):
        encoder.run(windows[start : start + 256])
    out.put(time.perf_counter() - started)


def on_all_cores(worker: Callable[..., None], items: Sequence[object], *extra: object) -> float:
    """Seconds until every core has done its share of `items`; start-up not counted."""
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    barrier, out = context.Barrier(cores), context.Queue()
    workers = [
        context.Process(target=worker, args=(list(items[core::cores]), *extra, barrier, out)) for core in range(cores)
    ]
    for process in workers:
        process.start()
    seconds = max(out.get() for _ in workers)
    for process in workers:
        process.join()
    return seconds


class PeakMemory:
    """Peak resident memory of a process and its children, in MB, sampled ten times a second."""

    def __init__(self, pid: int) -> None:
        self.peak = 0.0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._stop.set()
        self._thread.join()
        return self.peak

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.peak = max(self.peak, sum(_resident(pid) for pid in _family(self._pid)))


def _family(pid: int) -> list[int]:
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) in found:
            found.append(int(path.parent.name))
    return found


def _resident(pid: int) -> float:
    try:
        return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024
    except (OSError, IndexError):
        return 0.0


def label_throughput(texts: Sequence[str], rows: int, runtime: Runtime) -> tuple[float, float, float]:
    """`petitions label` on a CSV of `rows` petitions: rows/s as a user sees it, rows/s without start-up, peak MB."""
    with tempfile.TemporaryDirectory() as folder:

        def run(count: int) -> tuple[float, float]:
            source, target = Path(folder) / f"in{count}.csv", Path(folder) / f"out{count}.csv"
            with source.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(["id", "text"])
                writer.writerows([index, texts[index % len(texts)]] for index in range(count))
            started = time.perf_counter()
            process = subprocess.Popen(
                [*petitions(), "label", str(source), str(target),
                 "--model", str(MODEL), "--runtime", runtime.value],
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            memory = PeakMemory(process.pid)
            if process.wait() != 0:
                raise SystemExit("petitions label failed")
            return time.perf_counter() - started, memory.stop()

        few = 16
        start_up, _ = run(few)
        whole, peak = run(rows)
    return rows / whole, (rows - few) / (whole - start_up), peak


def intake_throughput(texts: Sequence[str], store: str, runtime: Runtime, total: int) -> tuple[float, float]:
    """Petitions/s handed in over HTTP in requests of 64, four at a time (classified, routed, stored), and peak MB."""
    port, size = 8766, 64
    process = subprocess.Popen(
        # The development install: it has PostgreSQL's driver.
        [sys.executable, "-c", "from nlp_service.cli import main; main()", "serve", "--port", str(port),
         "--model", str(MODEL), "--runtime", runtime.value],
        stderr=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, "PETITIONS_STORE": store},
    )  # fmt: skip
    memory = PeakMemory(process.pid)
    try:
        wait_until_ready(port)
        rows = [{"text": texts[index % len(texts)]} for index in range(total)]
        bodies = [
            json.dumps({"petitions": rows[start : start + size]}, ensure_ascii=False).encode()
            for start in range(0, total, size)
        ]
        asyncio.run(_post(port, "/v1/petitions", bodies[:1], 1, 1))
        speed, _ = asyncio.run(_post(port, "/v1/petitions", bodies, 4, len(bodies)))
    finally:
        process.terminate()
        process.wait()
    return speed * total / len(bodies), memory.stop()


def stores(folder: str) -> dict[str, str]:
    """SQLite, and PostgreSQL where PETITIONS_TEST_POSTGRES_URL says that there is one: an empty store of each."""
    found = {"SQLite": f"sqlite:///{folder}/bench.db"}
    server = os.environ.get("PETITIONS_TEST_POSTGRES_URL")
    if server:
        from sqlalchemy import create_engine, make_url, text

        url = make_url(server).set(drivername="postgresql+psycopg")
        with create_engine(url).begin() as connection:
            connection.execute(text("DROP SCHEMA IF EXISTS petitions_bench CASCADE"))
            connection.execute(text("CREATE SCHEMA petitions_bench"))
        bench = url.update_query_dict({"options": "-csearch_path=petitions_bench"})
        found["PostgreSQL"] = bench.render_as_string(hide_password=False)
    return found


def wait_until_ready(port: int) -> None:
    """Returns when the service on `port` answers petitions."""
    for _ in range(600):
        try:
            asyncio.run(_http_load(port, [SIXTY], 1, 3))
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"no service on port {port}")


async def _http_load(port: int, texts: Sequence[str], concurrency: int, total: int) -> tuple[float, list[float]]:
    bodies = [json.dumps({"text": text}, ensure_ascii=False).encode() for text in texts]
    return await _post(port, "/v1/classify", bodies, concurrency, total)


async def _post(
    port: int, path: str, bodies: Sequence[bytes], concurrency: int, total: int
) -> tuple[float, list[float]]:
    """Requests a second and the time of each in milliseconds."""
    left = iter(range(total))
    times: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for index in left:
            body = bodies[index % len(bodies)]
            started = time.perf_counter()
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ".encode()
                + str(len(body)).encode() + b"\r\n\r\n" + body
            )  # fmt: skip
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the service answered {head[:40]!r}")
            length = int(re.findall(rb"content-length: (\d+)", head.lower())[0])
            await reader.readexactly(length)
            times.append((time.perf_counter() - started) * 1000)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return total / (time.perf_counter() - started), times


def http_figures(
    texts: Sequence[str], runtime: Runtime, total: int
) -> tuple[dict[int, tuple[float, float, float]], float, float]:
    """{concurrency: (requests/s, p50 ms, p95 ms)}, p50 of one 60-syllable petition, and the service's peak MB."""
    folder = tempfile.TemporaryDirectory()
    process = subprocess.Popen(
        [*petitions(), "serve", "--port", "8765",
         "--model", str(MODEL), "--runtime", runtime.value],
        stderr=subprocess.DEVNULL, env={**os.environ, "PETITIONS_STORE": f"sqlite:///{folder.name}/bench.db"},
    )  # fmt: skip
    memory = PeakMemory(process.pid)
    try:
        wait_until_ready(8765)
        _, single = asyncio.run(_http_load(8765, [SIXTY], 1, 100))
        figures = {}
        for concurrency in (1, 8, 32):
            speed, times = asyncio.run(_http_load(8765, texts, concurrency, total))
            figures[concurrency] = (speed, statistics.median(times), statistics.quantiles(times, n=20)[18])
    finally:
        process.terminate()
        process.wait()
        folder.cleanup()
    return figures, statistics.median(single), memory.stop()


def main() -> None:
    """Print every figure and every bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--petitions", type=int, default=200)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--intake", type=int, default=2_048)
    parser.add_argument("--runtime", type=Runtime, default=Runtime.AUTO)
    arguments = parser.parse_args()
    from nlp_service.pipeline import PetitionClassifier

    texts = sample(arguments.petitions)
    classifier = PetitionClassifier.load(MODEL, arguments.runtime)
    windows = [window for text in texts for window in classifier.tokenise(text)]
    syllables = statistics.mean(len(text.split()) for text in texts)
    print(f"machine: {cpu()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}")
    print(f"model: {classifier.bundle.manifest.version}, {classifier.encoder.name}")
    print(
        f"petitions: {len(texts)}, {syllables:.0f} syllables and {sum(map(len, windows)) / len(texts):.0f} positions on average"
    )

    ours_p50, ours_p95 = percentiles(lambda: classifier.classify(SIXTY), 60)
    a_p50, a_p95, a, b = peer_figures(False, texts, 40)
    # A third of the petitions is enough for the slowest peer.
    c_p50, c_p95, c, _ = peer_figures(True, texts[: max(40, len(texts) // 3)], 15)
    print("\none petition of 60 syllables, in process       p50 ms   p95 ms")
    for name, p50, p95 in (("ours", ours_p50, ours_p95), ("(a)", a_p50, a_p95), ("(c)", c_p50, c_p95)):
        print(f"  {name:44s} {p50:7.1f}  {p95:7.1f}")

    speed, steady, label_memory = label_throughput(texts, arguments.rows, arguments.runtime)
    repeated = [texts[index % len(texts)] for index in range(max(arguments.rows // 2, len(texts)))]
    segmentation = on_all_cores(_segment_worker, repeated) / len(repeated)
    pieces = [window for text in repeated for window in classifier.tokenise(text)]
    model = on_all_cores(_model_worker, pieces, arguments.runtime) / len(repeated)
    ceiling = 1 / (segmentation + model)
    print("\nfile throughput                                 rows/s")
    print(
        f"  petitions label, {arguments.rows} rows, start-up counted    {speed:7.1f}   (peak {label_memory:.0f} MB, all processes)"
    )
    print(f"  petitions label, start-up not counted         {steady:7.1f}")
    print(f"  (a) {a:.1f}   (b) {b:.1f}   (c) {c:.1f}")
    print(
        f"  ceiling {ceiling:.1f}: segmentation alone {1 / segmentation:.0f}, model alone {1 / model:.1f}, on all cores"
    )

    figures, http_p50, http_memory = http_figures(texts, arguments.runtime, arguments.requests)
    print(f"\nHTTP (peak {http_memory:.0f} MB)                             req/s   p50 ms   p95 ms")
    for concurrency, (rate, p50, p95) in figures.items():
        print(f"  concurrency {concurrency:<33d} {rate:7.1f}  {p50:7.1f}  {p95:7.1f}")
    print(f"  one petition of 60 syllables                            {http_p50:7.1f}")

    print("\nintake over HTTP: classified, routed, stored     petitions/s")
    intake = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, store in stores(folder).items():
            intake, intake_memory = intake_throughput(texts, store, arguments.runtime, arguments.intake)
            print(f"  {name:44s} {intake:9.1f}   (peak {intake_memory:.0f} MB)")

    print("\nbars")
    for text, value, limit in (
        ("file throughput / (a)", speed / a, 5.0),
        ("file throughput / (b)", speed / b, 3.0),
        ("file throughput / (c)", speed / c, 30.0),
        ("file throughput / ceiling", speed / ceiling, 0.75),
        ("p50 of (a) in process / p50 over HTTP", a_p50 / http_p50, 1.0),
        ("petitions/s taken in (the last store above)", intake, 100.0),
    ):
        print(f"  {'met   ' if value >= limit else 'MISSED'} {text}: {value:.2f}, asked {limit:g}")


def cpu() -> str:
    """Name and vector instructions of this machine."""
    info = Path("/proc/cpuinfo").read_text()
    name = re.findall(r"model name\s*:\s*(.+)", info)
    flags = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if f" {flag}" in info]
    return f"{name[0] if name else platform.machine()} ({' '.join(flags)})"


if __name__ == "__main__":
    main()
