"""The parts of a search, which `searching.py` puts together.

`options.py` says what is asked for, `live.py` which generation answers it. `asking.py` turns a query into vectors, `fusing.py` turns
the answers of several fields into one.
"""
