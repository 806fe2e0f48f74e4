"""Milvus: the only place where pymilvus is imported."""
