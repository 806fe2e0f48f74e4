"""What each command does, as functions without a terminal: the top of the graph, the only place that knows every part by name."""
