"""Measures indexes on a job's own vectors: how much of the truth each finds, how fast, and what it costs to build and to hold.

`bench.py` is the whole: a sample of live vectors, a scratch collection, and one index after the other, held against exact search that is
computed here. What comes of it is a table with a sentence that recommends (`result.py`), and a plot.
"""
