"""Opening, checking and reading stems."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stemprover.errors import AudioError
from stemprover.stems import Stem

RATE = 44_100
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wave": ("WAVEX", "PCM_24"),
    "rf64.wav": ("RF64", "PCM_24"),
    "flac": ("FLAC", "PCM_24"),
    "aiff": ("AIFF", "PCM_24"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def noise(samples: int = 60_000, channels: int = 2, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (channels, samples)).clip(-0.99, 0.99)


def write(path: Path, audio: np.ndarray, rate: int = RATE, container: str = "WAV", subtype: str = "PCM_16") -> Path:
    soundfile.write(path, audio.T, 48_000 if subtype == "OPUS" else rate, subtype, format=container)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_read_as_soundfile_reads_it(tmp_path: Path, suffix: str) -> None:
    container, subtype = FORMATS[suffix]
    path = write(tmp_path / f"vocals.{suffix}", noise(), container=container, subtype=subtype)
    with Stem.open(path) as stem:
        assert (stem.format.container, stem.format.subtype) == (container, subtype)
        assert (stem.stem_class, stem.format.samples, stem.format.channels) == ("vocals", 60_000, 2)
        native = stem.read_native(0, 60_000)
        wanted, _ = soundfile.read(path, dtype=stem.format.native_dtype, always_2d=True)
        np.testing.assert_array_equal(native, wanted.T)
        scale = 2.0**31 if native.dtype == np.int32 else 1.0
        np.testing.assert_array_equal(stem.read(0, 60_000), native / scale)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM"])
@pytest.mark.parametrize("rate", [8_000, 192_000])
def test_sample_types_and_rates(tmp_path: Path, subtype: str, rate: int) -> None:
    path = write(tmp_path / "a.wav", noise(4040, 1), rate, subtype=subtype)
    with Stem.open(path) as stem:
        assert stem.format.sample_rate == rate
        assert stem.read_native(0, 10).dtype == {"FLOAT": "float32", "DOUBLE": "float64"}.get(subtype, "int32")
        assert 0.2 < stem.check() < 1.0


def test_six_channels(tmp_path: Path) -> None:
    audio = noise(500, 6)
    with Stem.open(write(tmp_path / "a.wav", audio, subtype="DOUBLE")) as stem:
        np.testing.assert_array_equal(stem.read(100, 200), audio[:, 100:200])


@given(st.lists(st.tuples(st.integers(-500, 3000), st.integers(0, 1500)), max_size=6))
def test_any_range_is_the_slice_of_the_zero_padded_signal(ranges: list[tuple[int, int]]) -> None:
    audio = noise(2000)
    padded = np.pad(audio, ((0, 0), (1000, 4000)))
    with Stem.from_array(audio, RATE) as stem:
        for start, length in ranges:
            np.testing.assert_array_equal(
                stem.read(start, start + length), padded[:, start + 1000 : start + length + 1000]
            )


@pytest.mark.parametrize("suffix", FORMATS)
def test_samples_do_not_depend_on_how_they_are_read(tmp_path: Path, suffix: str) -> None:
    container, subtype = FORMATS[suffix]
    audio = noise(400_000, 1)
    audio[:, :100_000] *= 0.01
    path = write(tmp_path / f"a.{suffix}", audio, container=container, subtype=subtype)
    with Stem.open(path) as whole, Stem.open(path) as blocks:
        wanted = whole.read_native(0, 400_000)
        for start in range(0, 400_000, 30_000):
            blocks.read(start - 5000, start + 45_000)  # what a model sees around the block
            stop = min(start + 30_000, 400_000)
            np.testing.assert_array_equal(blocks.read_native(start, stop), wanted[:, start:stop])
        np.testing.assert_array_equal(blocks.read_native(0, 9), wanted[:, :9])


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_a_long_jump_in_a_lossy_file_lands_on_the_right_samples(tmp_path: Path, suffix: str) -> None:
    container, subtype = FORMATS[suffix]
    path = write(tmp_path / f"a.{suffix}", noise(900_000, 1), container=container, subtype=subtype)
    with Stem.open(path) as whole, Stem.open(path) as jumping:
        wanted = whole.read(0, 900_000)
        for start in (880_000, 10_000, 500_000, 250_123, 899_990):
            stop = min(start + 1000, 900_000)
            np.testing.assert_allclose(jumping.read(start, stop), wanted[:, start:stop], atol=1e-7)


@pytest.mark.parametrize("kept", [0.999, 0.6, 0.05])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_was_cut_off_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, kept: float
) -> None:
    container, subtype = FORMATS[suffix]
    path = write(tmp_path / f"a.{suffix}", noise(), container=container, subtype=subtype)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(AudioError):
        Stem.open(path)
    assert capfd.readouterr() == ("", "")  # the MP3 decoder would warn


def test_the_message_about_a_cut_says_what_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(1000))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(AudioError, match=r"expected 4000 bytes of samples, got 3000 bytes in '.*a\.wav'.*cut off"):
        Stem.open(path)


def test_an_ogg_file_cut_between_pages_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", noise(), container="OGG", subtype="VORBIS")
    data = path.read_bytes()
    path.write_bytes(data[: data.rfind(b"OggS")])
    with pytest.raises(AudioError, match="end-of-stream"):
        Stem.open(path)


def test_a_wav_file_written_to_a_pipe_has_no_size_and_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(1000))
    data = bytearray(path.read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = b"\xff" * 4
    path.write_bytes(data)
    with Stem.open(path) as stem:
        assert stem.format.samples == 1000


def test_a_flac_file_without_a_length_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", noise(1000), container="FLAC")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # 36 bits of STREAMINFO
    data[22:26] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(AudioError, match="how long it is"):
        Stem.open(path)


def test_an_id3_tag_in_front_of_an_mp3_is_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", noise(), container="MP3", subtype="MPEG_LAYER_III")
    tag = b"ID3\x04\x00\x00" + struct.pack(">I", 0x0108) + bytes(136)  # 0x0108 is 136 in 7-bit bytes
    path.write_bytes(tag + path.read_bytes())
    with Stem.open(path) as stem:
        assert stem.format.samples == 60_000


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.wav", b"", "empty"),
        ("a.wav", b"RIFF\x24\0\0\0WAVE", "cut off"),
        ("a.wav", b"plain text, not audio", "not audio"),
        ("a.flac", b"fLaC" + bytes(100), "WAV, FLAC, AIFF, OGG or MP3"),
        ("a.ogg", b"OggS" + bytes(10), "cut off"),
        ("a.mp3", np.random.default_rng(1).bytes(9000), "not audio"),
        ("a.mp3", b"\xff\xfb\x90\x00" + bytes(5000), "not audio"),
        ("a.raw", bytes(5000), "not audio"),
    ],
)
def test_what_is_not_audio_is_one_clear_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, data: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(AudioError, match=words) as caught:
        Stem.open(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")  # nor does a decoder print


def test_missing_files_folders_and_files_without_samples(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no file"):
        Stem.open(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="folder"):
        Stem.open(tmp_path)
    with pytest.raises(AudioError, match="zero samples"):
        Stem.open(write(tmp_path / "a.wav", np.zeros((2, 0))))


@pytest.mark.parametrize(
    ("container", "subtype", "rate"), [("WAV", "GSM610", 8000), ("AU", "PCM_16", RATE), ("WAV", "PCM_16", 4000)]
)
def test_unusual_formats_are_refused(tmp_path: Path, container: str, subtype: str, rate: int) -> None:
    path = write(tmp_path / "a.wav", noise(1000, 1), rate, container, subtype)
    with pytest.raises(AudioError, match=r"convert|resample"):
        Stem.open(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_found_and_located(tmp_path: Path, bad: float) -> None:
    audio = noise(RATE * 8)
    audio[1, RATE * 7] = bad
    with Stem.open(write(tmp_path / "a.wav", audio, subtype="FLOAT")) as stem:
        stem.read(0, RATE)
        with pytest.raises(AudioError, match=r"a\.wav' at 7\.000 s"):
            stem.check()
        with pytest.raises(AudioError, match="NaN or infinity"):
            stem.read_native(RATE * 7, RATE * 8)


def test_check_returns_the_peak() -> None:
    assert Stem.from_array(np.zeros((2, 100)), RATE).check() == 0.0
    assert Stem.from_array(np.array([[0.5, -1.25]], np.float32), RATE).check() == 1.25
    assert Stem.from_array(np.array([[-(2**15)]], np.int16), RATE).check() == 1.0


def test_arrays_are_copied_and_keep_their_sample_type() -> None:
    audio = np.array([1, -2, 3], np.int16)
    stem = Stem.from_array(audio, RATE, "Drums", "kit")
    audio[:] = 0
    assert (stem.format.subtype, stem.format.channels, stem.stem_class, stem.path) == ("PCM_16", 1, "drums", None)
    np.testing.assert_array_equal(stem.read_native(0, 3), np.array([[1, -2, 3]], np.int32) << 16)


@pytest.mark.parametrize(
    "audio", [np.zeros((2, 2, 2)), np.zeros((1, 3), complex), np.zeros((500, 2)), np.zeros((2, 0))]
)
def test_arrays_that_are_no_audio_are_refused(audio: np.ndarray) -> None:
    with pytest.raises(AudioError):
        Stem.from_array(audio, RATE)


def test_reading_after_close_is_an_error(tmp_path: Path) -> None:
    with Stem.open(write(tmp_path / "a.wav", noise(100))) as stem:
        pass
    with pytest.raises(AudioError, match="after close"):
        stem.read(0, 10)


def without_tag(path: Path) -> Path:
    """Remove the frame of an MP3 that says how long it is."""
    data = path.read_bytes()
    path.write_bytes(data[data.index(b"\xff\xfb", max(data.find(b"Xing"), data.find(b"Info"))) :])
    return path


def test_an_mp3_without_a_length_in_its_header_is_read_to_its_end(tmp_path: Path) -> None:
    audio = 0.1 * np.random.default_rng(0).standard_normal((4 * RATE, 2))
    soundfile.write(tmp_path / "a.mp3", audio, RATE, bitrate_mode="CONSTANT", compression_level=0.2)
    path = without_tag(tmp_path / "a.mp3")
    with Stem.open(path) as stem:
        samples = stem.format.samples
        assert samples < soundfile.info(path).frames, "libsndfile guesses too high here; else this tests nothing"
        assert 4 * RATE <= samples <= 4 * RATE + 3 * 1152
        assert stem.check() > 0.3
        assert np.abs(stem.read(samples - 3000, samples)).max() > 0.01


def test_an_mp3_whose_length_is_guessed_too_low_is_refused(tmp_path: Path) -> None:
    audio = 0.3 * np.random.default_rng(0).standard_normal((4 * RATE, 2))
    soundfile.write(tmp_path / "a.mp3", audio, RATE, bitrate_mode="VARIABLE", compression_level=0.2)
    path = without_tag(tmp_path / "a.mp3")
    assert soundfile.info(path).frames < 3 * RATE, "libsndfile would lose the end"
    with pytest.raises(AudioError, match="variable bit rate; convert it"):
        Stem.open(path)
