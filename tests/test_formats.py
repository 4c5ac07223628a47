"""Which format a file is written in."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemprover.errors import OutputError
from stemprover.stems import AudioFormat, Writer, default_suffix, output_format

RATE = 44_100


def source(subtype: str, channels: int = 2, container: str = "WAV", samples: int = 5000) -> AudioFormat:
    return AudioFormat(RATE, channels, samples, container, subtype)


@pytest.mark.parametrize(
    ("container", "subtype", "name", "becomes"),
    [
        ("WAVEX", "PCM_24", "a.wav", ("WAVEX", "PCM_24")),
        ("RF64", "FLOAT", "a.wav", ("RF64", "FLOAT")),
        ("AIFF", "PCM_24", "a.wav", ("WAV", "PCM_24")),
        ("AIFF", "PCM_S8", "a.WAV", ("WAV", "PCM_U8")),
        ("FLAC", "PCM_16", "a.wav", ("WAV", "PCM_16")),
        ("WAV", "PCM_U8", "a.flac", ("FLAC", "PCM_S8")),
        ("WAV", "ULAW", "a.wav", ("WAV", "PCM_16")),
        ("MP3", "MPEG_LAYER_III", "a.wav", ("WAV", "FLOAT")),
        ("OGG", "VORBIS", "a.wav", ("WAV", "FLOAT")),
        ("OGG", "OPUS", "a.flac", ("FLAC", "PCM_24")),
    ],
)
def test_formats_that_the_target_cannot_hold_become_the_nearest_lossless(
    container: str, subtype: str, name: str, becomes: tuple[str, str]
) -> None:
    chosen = output_format(source(subtype, container=container), Path(name))
    assert (chosen.container, chosen.subtype) == becomes


def test_files_beyond_four_gigabytes_become_rf64() -> None:
    hour = RATE * 3600
    assert output_format(source("PCM_24", samples=4 * hour), Path("a.wav")).container == "WAV"
    assert output_format(source("PCM_24", samples=5 * hour), Path("a.wav")).container == "RF64"
    assert output_format(source("PCM_24", samples=5 * hour, container="WAVEX"), Path("a.wav")).container == "RF64"


@pytest.mark.parametrize(
    ("subtype", "channels", "name", "words"),
    [
        ("FLOAT", 2, "a.flac", "8, 16 or 24-bit"),
        ("PCM_32", 2, "a.flac", r"write 'a\.wav' instead"),
        ("PCM_16", 9, "a.flac", "at most 8 channels"),
        ("PCM_16", 2, "a.mp3", r"\.wav or \.flac"),
        ("PCM_16", 2, "a", r"\.wav or \.flac"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(
    tmp_path: Path, subtype: str, channels: int, name: str, words: str
) -> None:
    with pytest.raises(OutputError, match=words):
        Writer(tmp_path / name, source(subtype, channels))
    assert not list(tmp_path.iterdir())


def test_the_default_suffix_is_the_input_s_family() -> None:
    assert default_suffix(source("PCM_16", container="FLAC")) == ".flac"
    assert default_suffix(source("PCM_16", container="AIFF")) == ".wav"
