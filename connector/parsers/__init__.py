"""Parsers: a document's bytes in, rows with text out."""
