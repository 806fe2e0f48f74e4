"""What a plugin author, and our own suite, tests with."""
