"""Encoders: the only place where torch and the model libraries are imported."""
