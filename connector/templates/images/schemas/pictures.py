"""Pictures, one row a picture."""

from connector.schema import HNSW, Collection, Field, Vector, VectorField


class Pictures(Collection):
    """Searched by likeness."""

    id: str = Field(primary_key=True, generated=True)
    path: str = Field(max_length=1024)
    # A model of the Hugging Face Hub, fetched at the first run; `connector models pull` says which commit to pin. A folder with config.json
    # and model.safetensors works without a hub: encoder="timm:./models/resnet18"; if it gives other than 512 numbers, change dim, too.
    vector: Vector = VectorField(
        dim=512, encoder="timm:resnet18.a1_in1k", source="image", metric="COSINE", index=HNSW(M=16, ef_construction=200)
    )
