"""Tells whoever runs jobs what happened: metrics, traces, log lines, and messages to people. Nothing here changes what a run does.

live.py      a run's report, up to date at any moment       around.py    what is told around a run, once
metrics.py   counters and gauges for Prometheus             handing.py   brings them to a file or a Pushgateway
traces.py    spans for OpenTelemetry                        notices.py   failure, rejects and recovery to a webhook
logs.py      the command line's log lines                   masking.py   takes secrets out of them
settings.py  the keys of a job                              posting.py   one small HTTP request
"""
