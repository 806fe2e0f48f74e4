"""What Python callers get: `sdk.py` has the functions that `connector` offers, `job.py` a job that runs itself, `events.py` its events."""
