"""Pictures a second into Milvus Lite: connector against timm with a torch DataLoader and a plain pymilvus upsert, same photos.

Start-up (imports, loading the model, creating the collection) is excluded on both sides, and so is closing Milvus Lite, which then builds
an index; connector's side includes listing, hashing and committing. The photos are synthetic, 0.3 to 2 megapixels: noise of several sizes,
which compresses about as photos do. EfficientNet-Lite0 has its real weights, the other models random ones, which take as long. The limit is
that of the same job, by `connector bench`. Connector runs twice: as it comes, and with the option `fast` of image encoders.

    python -m tests.bench.images [--model resnet50] [--pictures 500] [--rounds 5] [--loaders 2] [--out bench-images.json]
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from connector.job import Job
from connector.schema import Collection, Field, Vector, VectorField
from tests.bench.rounds import ROOT, Benchmark, Measured, limit, main, worked

SEED = 20_261_123
DIMS = {"tf_efficientnet_lite0": 1280, "resnet50": 2048, "vit_small_patch16_224": 384}


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


def prepare(folder: Path, given: argparse.Namespace) -> None:
    """Draws the photos and writes the model folder."""
    (folder / "photos").mkdir()
    photos(folder / "photos", given.pictures)
    if given.model == "tf_efficientnet_lite0":
        runpy.run_path(str(ROOT / "docker" / "models" / "efficientnet_lite0.py"))["write"](folder / "model")
    else:
        random_model(given.model, folder / "model")


def random_model(name: str, folder: Path) -> None:
    """A timm model folder whose weights are random, the same every time."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(SEED)
    network = timm.create_model(name, pretrained=False)
    shown = ("input_size", "crop_pct", "interpolation", "mean", "std", "first_conv", "classifier")
    known = {key: network.pretrained_cfg[key] for key in shown}
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"architecture": name, "num_classes": 1000, "pretrained_cfg": known}))


def job_in(folder: Path, empty: Path, given: argparse.Namespace, *, fast: bool = False) -> Job:
    """The job that is measured; `fast`: with the encoder's option of that name."""
    options: dict[str, Any] = {"fast": True} if fast else {}

    class Photos(Collection):
        id: str = Field(primary_key=True, generated=True)
        path: str = Field(max_length=256)
        vector: Vector = VectorField(dim=DIMS[given.model], encoder=f"timm:{folder / 'model'}", source="image", metric="COSINE", **options)

    source = {"kind": "files", "root": str(folder / "photos")}
    settings = {"job": "bench", "source": source, "into": Photos, "milvus": {"uri": str(empty / "ours.db")}, "state": empty / "state.db"}
    return Job.check(settings, "bench")


def ours(folder: Path, empty: Path, given: argparse.Namespace, *, fast: bool = False) -> Measured:
    """A run, start-up excluded; what `fast` imports while the run prepares its first picture was imported before, as on the other side."""
    import timm  # noqa: F401
    import torch  # noqa: F401

    import connector

    report = connector.run(job_in(folder, empty, given, fast=fast))
    print(report, file=sys.stderr)
    if report.counts.written != given.pictures:
        sys.exit(f"only {report.counts.written} of {given.pictures} were written")
    seconds = worked(report)
    return {"seconds": seconds, "a_second": given.pictures / seconds}


def theirs(folder: Path, empty: Path, given: argparse.Namespace) -> Measured:
    """The script that people write, after the model is loaded and the collection is made."""
    import timm
    import torch
    from PIL import Image
    from pymilvus import DataType, MilvusClient
    from timm.data import create_transform, resolve_model_data_config

    network = timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True, num_classes=0).eval()
    transform = create_transform(**resolve_model_data_config(network), is_training=False)
    client = MilvusClient(str(empty / "theirs.db"))
    schema = client.create_schema(auto_id=False)
    schema.add_field("path", DataType.VARCHAR, is_primary=True, max_length=256)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMS[given.model])
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
    client.create_collection("photos", schema=schema, index_params=index)

    class Files(torch.utils.data.Dataset):  # type: ignore[misc]  # torch's types are not read
        paths = sorted((folder / "photos").iterdir())

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> tuple[str, Any]:
            return self.paths[index].name, transform(Image.open(self.paths[index]).convert("RGB"))

    begun = time.perf_counter()
    with torch.inference_mode():
        for names, batch in torch.utils.data.DataLoader(Files(), batch_size=32, num_workers=given.loaders):
            vectors = network(batch).numpy()
            client.upsert("photos", [{"path": name, "vector": vector} for name, vector in zip(names, vectors, strict=True)])
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "a_second": given.pictures / seconds}


BENCH = Benchmark(
    module="tests.bench.images",
    about=str(__doc__),
    options={"model": "tf_efficientnet_lite0", "pictures": 500, "loaders": 2},
    prepare=prepare,
    sides={
        "ours": ours,
        "ours-fast": partial(ours, fast=True),
        "theirs": theirs,
        "limit": lambda folder, empty, given: limit(job_in(folder, empty, given)),
        "limit-fast": lambda folder, empty, given: limit(job_in(folder, empty, given, fast=True)),
    },
    choices={"model": list(DIMS)},
    ratios={
        "times the script's speed": lambda one: one["ours"]["a_second"] / one["theirs"]["a_second"],
        "share of the limit": lambda one: one["ours"]["a_second"] / one["limit"]["a_second"],
        "times the script's speed, fast": lambda one: one["ours-fast"]["a_second"] / one["theirs"]["a_second"],
        "share of the limit, fast": lambda one: one["ours-fast"]["a_second"] / one["limit-fast"]["a_second"],
    },
)

if __name__ == "__main__":
    main(BENCH)
