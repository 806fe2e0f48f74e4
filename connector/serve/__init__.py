"""`connector serve`: one process that runs every job file of a folder on its own schedule.

Read `service.py` first, which decides what runs. `folder.py` has the job files, `entries.py` what is known of each job, `planner.py` the
times, `runs.py` one run in its thread, `warm.py` and `turnstile.py` the models and whose turn it is. `standing.py` needs no process: it
says how a job stands from its ledger.
"""
