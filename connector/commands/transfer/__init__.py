"""Rows of one collection become rows of another: `copies.py` decides how, field by field, and `filling.py` does it."""
