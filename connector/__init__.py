"""Keeps Milvus collections in step with sources."""
