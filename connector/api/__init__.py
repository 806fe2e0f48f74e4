"""What Python callers get beside plain functions: a job that runs itself, and the events of its run."""
