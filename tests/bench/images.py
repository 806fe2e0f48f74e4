"""Pictures a second into Milvus Lite: connector against a plain timm model, torch's DataLoader and a pymilvus upsert, same files.

Runs the two in turn, several times, each in a process of its own with a new database; who begins changes from round to round. Start-up
(imports, loading the model, creating the collection) is excluded on both sides; connector's side includes listing, hashing and
committing. The photos are synthetic, 0.3 to 2 megapixels: noise of several sizes, which compresses about as photos do. Prints what came
of it and writes it as JSON; a ratio of 2 means that connector takes half the time.

    python tests/bench/images.py [--pictures 500] [--rounds 5] [--loaders 2] [--out bench-images.json]
"""

from __future__ import annotations

import argparse
import json
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from connector.schema import Collection, Field, Vector, VectorField

SEED = 20_261_123
DIM = 1280
SCRIPT = Path(__file__).parents[2] / "docker" / "models" / "efficientnet_lite0.py"


def photo(path: Path, number: int) -> None:
    """Writes one photo-like JPEG, the same on every machine."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng([SEED, number])
    side = float(rng.uniform(0.3e6, 2e6)) ** 0.5
    size = (round(side * 1.155), round(side / 1.155))
    sum_of = np.zeros((size[1], size[0], 3), np.float32)
    for grain, strength in ((4, 1.0), (16, 0.5), (64, 0.25), (256, 0.12)):
        noise = Image.fromarray(rng.integers(0, 256, (grain * 3 // 4, grain, 3), dtype=np.uint8))
        sum_of += strength * np.asarray(noise.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    Image.fromarray((sum_of / 1.87).astype(np.uint8)).save(path, quality=88)


def photos(folder: Path, count: int) -> None:
    """Writes them all."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda number: photo(folder / f"{number:05}.jpg", number), range(count)))


def ours(photos: Path, folder: Path, model: Path, _loaders: int) -> float:
    """Seconds of a run, start-up excluded."""
    import connector

    class Photos(Collection):
        id: str = Field(primary_key=True, generated=True)
        path: str = Field(max_length=256)
        vector: Vector = VectorField(dim=DIM, encoder=f"timm:{model}", source="image", metric="COSINE")

    source = connector.source("files", root=str(photos))
    report = connector.run(source, into=Photos, milvus=str(folder / "ours.db"), state=folder / "state.db")
    print(report, file=sys.stderr)
    return report.seconds - report.startup_s


def theirs(photos: Path, folder: Path, model: Path, loaders: int) -> float:
    """Seconds of the script that people write, after the model is loaded and the collection is made."""
    import timm
    import torch
    from PIL import Image
    from pymilvus import DataType, MilvusClient
    from timm.data import create_transform, resolve_model_data_config

    network = timm.create_model(f"local-dir:{model}", pretrained=True, num_classes=0).eval()
    transform = create_transform(**resolve_model_data_config(network), is_training=False)
    client = MilvusClient(str(folder / "theirs.db"))
    schema = client.create_schema(auto_id=False)
    schema.add_field("path", DataType.VARCHAR, is_primary=True, max_length=256)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection("photos", schema=schema, index_params=index)

    class Files(torch.utils.data.Dataset):  # type: ignore[misc]  # torch's types are not read
        paths = sorted(photos.iterdir())

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> tuple[str, Any]:
            return self.paths[index].name, transform(Image.open(self.paths[index]).convert("RGB"))

    begun = time.perf_counter()
    with torch.inference_mode():
        for names, batch in torch.utils.data.DataLoader(Files(), batch_size=32, num_workers=loaders):
            vectors = network(batch).numpy()
            client.upsert("photos", [{"path": name, "vector": vector} for name, vector in zip(names, vectors, strict=True)])
    return time.perf_counter() - begun


def once(side: str, folder: Path, loaders: int) -> float:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--loaders", str(loaders)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Runs both sides in turn and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loaders", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("bench-images.json"))
    parser.add_argument("--side", choices=["ours", "theirs"])
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.side:
        measure = {"ours": ours, "theirs": theirs}[given.side]
        with tempfile.TemporaryDirectory() as empty:
            print(measure(given.folder / "photos", Path(empty), given.folder / "model", given.loaders))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        photos(folder / "photos", given.pictures)
        runpy.run_path(str(SCRIPT))["write"](folder / "model")
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for number in range(given.rounds):
            for side in sorted(seconds, reverse=number % 2 == 1):
                seconds[side].append(once(side, folder, given.loaders))
                print(f"round {number + 1} of {given.rounds}, {side}: {seconds[side][-1]:.1f} s", file=sys.stderr)
        size = sum(path.stat().st_size for path in (folder / "photos").iterdir())
    result = summary(seconds, given.pictures, size)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    low, high = result["ratio_range"]
    print(f"{result['ratio_median']} times as many pictures a second as the script, {low} to {high} over {given.rounds} rounds")


def summary(seconds: dict[str, list[float]], count: int, size: int) -> dict[str, Any]:
    """Medians, their ratio and its spread over the rounds."""
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    return {
        "pictures": count,
        "kilobytes_a_picture": round(size / count / 1000),
        "rounds": len(ratios),
        "seconds": {side: [round(one, 1) for one in found] for side, found in seconds.items()},
        "pictures_per_second": {side: round(count / statistics.median(found), 1) for side, found in seconds.items()},
        "ratio_median": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
    }


if __name__ == "__main__":
    main()
