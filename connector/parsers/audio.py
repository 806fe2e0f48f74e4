"""Takes a recording as it is: one row with its encoded bytes, its length and its rate. Samples are decoded later, by the encoder.

Decoded samples are many times the size of the file, and are needed for a moment only; so what travels is the file. Its content decides what
it is, not its name. Tags are not read: `title` is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.files.recordings import open_recording

if TYPE_CHECKING:
    from connector.record import Payload, Row


class AudioParser:
    """WAV, FLAC, OGG (Vorbis, Opus), MP3 and AIFF."""

    media_types = frozenset({"audio/aiff", "audio/flac", "audio/mpeg", "audio/ogg", "audio/wav"})

    def parse(self, payload: Payload) -> list[Row]:
        """One row: `audio` (the encoded bytes), `duration` in seconds, `sample_rate`, `channels`, `title` (empty).

        Raises:
            DocumentError: The bytes are no recording. Damage behind the header is found when it is decoded, and rejects the row then.
            MissingExtra: The package `soundfile` is not installed.
        """
        data = payload.data or b""
        with open_recording(data) as sound:
            rate, frames, channels = int(sound.samplerate), int(sound.frames), int(sound.channels)
        return [{"audio": data, "duration": frames / rate, "sample_rate": rate, "channels": channels, "title": ""}]
