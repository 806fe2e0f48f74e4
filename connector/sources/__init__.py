"""Source readers: list documents, open them when asked."""
