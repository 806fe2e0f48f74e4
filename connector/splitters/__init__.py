"""Splitters: one text in, the offsets of its passages out."""
