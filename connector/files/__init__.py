"""Files that a source, a parser or an encoder opens: read whole from below one root, and refused if they are not what they claim to be."""
