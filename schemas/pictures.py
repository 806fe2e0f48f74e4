"""schemas/pictures.py: a folder of pictures, one row each, searched by picture."""

from __future__ import annotations

from connector.schema import HNSW, Collection, Field, Vector, VectorField


class Pictures(Collection):
    """Which of my pictures look like this one?"""

    id: str = Field(primary_key=True, generated=True)
    path: str = Field(max_length=1024)
    folder: str = Field(max_length=1024, default="")
    width: int = 0
    height: int = 0
    vector: Vector = VectorField(
        dim=1280,
        encoder="timm:./.connector/models/tf_efficientnet_lite0",
        source="image",
        metric="COSINE",
        index=HNSW(M=16, ef_construction=200),
    )
