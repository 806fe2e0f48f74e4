"""What a plugin author, and our own suite, tests with: contract checks, a source that can crash, a fake encoder, a sink in memory."""

from connector.testing.encoders import FakeEncoder, check_encoder, fake_vector
from connector.testing.sinks import MemorySink
from connector.testing.sources import Abort, ListSource, check_source

__all__ = ["Abort", "FakeEncoder", "ListSource", "MemorySink", "check_encoder", "check_source", "fake_vector"]
