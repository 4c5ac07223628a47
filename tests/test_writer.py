"""Writing: exact, atomic, and never over an input."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemprover.errors import OutputError
from stemprover.stems import AudioFormat, Stem, Writer

RATE = 44_100


def source(
    subtype: str, channels: int = 2, container: str = "WAV", rate: int = RATE, samples: int = 5000
) -> AudioFormat:
    return AudioFormat(rate, channels, samples, container, subtype)


def native(audio_format: AudioFormat, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (audio_format.channels, audio_format.samples)
    if audio_format.native_dtype != "int32":
        return rng.normal(0, 0.5, shape).astype(audio_format.native_dtype)
    bits = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}[audio_format.native_subtype]
    values = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape) << (32 - bits)
    return values.astype(np.int32)


def write(path: Path, audio_format: AudioFormat, block: int = 777, **options: bool) -> np.ndarray:
    samples = native(audio_format)
    with Writer(path, audio_format, **options) as writer:
        for start in range(0, audio_format.samples, block):
            writer.write(samples[:, start : start + block])
    return samples


def write_then(path: Path, audio_format: AudioFormat, action: Callable[[], None], overwrite: bool = False) -> None:
    """Write everything and let something happen before the writer is left."""
    with Writer(path, audio_format, overwrite=overwrite) as writer:
        writer.write(native(audio_format))
        action()


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    """No file may grow beyond 8 KiB: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_keeps_every_sample_and_the_format(tmp_path: Path, subtype: str, channels: int, rate: int) -> None:
    wanted = source(subtype, channels, rate=rate)
    samples = write(tmp_path / "out.wav", wanted)
    with Stem.open(tmp_path / "out.wav") as stem:
        assert stem.format == wanted
        np.testing.assert_array_equal(stem.read_native(0, wanted.samples), samples)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_flac_keeps_every_sample_and_the_format(tmp_path: Path, subtype: str, channels: int) -> None:
    wanted = source(subtype, channels, "FLAC", 96_000)
    samples = write(tmp_path / "out.flac", wanted)
    with Stem.open(tmp_path / "out.flac") as stem:
        assert stem.format == wanted
        np.testing.assert_array_equal(stem.read_native(0, wanted.samples), samples)


def test_decoded_samples_of_a_lossy_file_are_rounded_to_24_bits_for_flac(tmp_path: Path) -> None:
    wanted = source("VORBIS", container="OGG", samples=1000)
    samples = np.clip(native(wanted), -1, 1)
    with Writer(tmp_path / "a.flac", wanted) as writer:
        writer.write(samples)
    out, _ = soundfile.read(tmp_path / "a.flac", always_2d=True)
    assert np.abs(out.T - samples).max() <= 2.0**-23  # full scale itself has no 24-bit code
    assert np.median(np.abs(out.T - samples)) < 2.0**-24


def test_decoded_samples_beyond_full_scale_do_not_clip_silently(tmp_path: Path) -> None:
    wanted = source("VORBIS", container="OGG", samples=3)
    loud = np.array([[0.0, 1.3, 0.0]] * 2, np.float32)
    with pytest.raises(OutputError, match=r"a peak of 1\.300"), Writer(tmp_path / "a.flac", wanted) as writer:
        writer.write(loud)
    assert not list(tmp_path.iterdir())
    with Writer(tmp_path / "a.wav", wanted) as writer:
        writer.write(loud)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "a.wav", dtype="float32")[0].T, loud)


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT"])
def test_same_samples_give_the_same_bytes(tmp_path: Path, subtype: str) -> None:
    write(tmp_path / "a.wav", source(subtype))
    data = (tmp_path / "a.wav").read_bytes()
    if subtype == "FLOAT":
        at = data.index(b"PEAK")
        assert data[at + 12 : at + 16] == bytes(4)
    write(tmp_path / "b.wav", source(subtype), block=5000)
    assert data == (tmp_path / "b.wav").read_bytes()


def test_nothing_but_a_hidden_file_is_seen_before_the_end(tmp_path: Path) -> None:
    audio_format = source("PCM_16")
    with Writer(tmp_path / "a.wav", audio_format) as writer:
        writer.write(native(audio_format))
        assert [path.name[0] for path in tmp_path.iterdir()] == ["."]
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    umask = os.umask(0o022)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.wav").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(error):
        write_then(tmp_path / "new" / "folder" / "a.flac", source("PCM_24"), fail)
    assert not list(tmp_path.iterdir())


def test_an_exception_keeps_the_old_file(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", source("PCM_16"))
    before = (tmp_path / "a.wav").read_bytes()

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_then(tmp_path / "a.wav", source("PCM_24"), fail, overwrite=True)
    assert (tmp_path / "a.wav").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write(tmp_path / "new" / "folder" / "a.wav", source("PCM_16"))
    assert soundfile.info(tmp_path / "new" / "folder" / "a.wav").frames == 5000


def test_existing_files_are_replaced_only_on_request(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", source("PCM_16"))
    with pytest.raises(OutputError, match="--overwrite"):
        Writer(tmp_path / "a.wav", source("PCM_24"))
    write(tmp_path / "a.wav", source("PCM_24"), overwrite=True)
    assert soundfile.info(tmp_path / "a.wav").subtype == "PCM_24"


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def somebody_writes() -> None:
        (tmp_path / "a.wav").write_text("somebody else's")

    with pytest.raises(OutputError, match="exists"):
        write_then(tmp_path / "a.wav", source("PCM_16"), somebody_writes)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["somebody else's"]


@pytest.mark.parametrize("link", ["same", "dotted", "symbolic", "hard"])
def test_an_input_is_never_overwritten(tmp_path: Path, link: str) -> None:
    original, other = tmp_path / "a.wav", tmp_path / "b.wav"
    write(original, source("PCM_16"))
    before = original.read_bytes()
    if link == "symbolic":
        other.symlink_to(original)
    elif link == "hard":
        other.hardlink_to(original)
    target = {"same": original, "dotted": tmp_path / "x" / ".." / "a.wav"}.get(link, other)
    (tmp_path / "x").mkdir()
    with pytest.raises(OutputError, match="not an input"):
        Writer(target, source("PCM_16"), inputs=[tmp_path / "mix.wav", original], overwrite=True)
    assert original.read_bytes() == before


def test_targets_that_are_folders_or_lie_below_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(OutputError, match="the folder"):
        Writer(tmp_path / "a.wav", source("PCM_16"), overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError), Writer(tmp_path / "file" / "a.wav", source("PCM_16")):
        pytest.fail("must not be entered")
    with pytest.raises(OutputError, match="too long"):
        Writer(tmp_path / f"{'a' * 300}.wav", source("PCM_16"))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    target = Path("/proc/stemprover/a.wav") if os.geteuid() == 0 else tmp_path / "locked" / "a.wav"
    if os.geteuid() != 0:  # nothing is locked for root, except in /proc
        target.parent.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="nothing was written"), Writer(target, source("PCM_16")):
        pytest.fail("must not be entered")


@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.flac", "PCM_24")])
def test_a_full_disk_is_an_error_and_leaves_nothing(
    tmp_path: Path, file_size_limit: None, name: str, subtype: str
) -> None:
    with pytest.raises(OutputError, match=r"File too large.*nothing was written"):
        write(tmp_path / name, source(subtype), block=500)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_disk_that_fills_up_at_the_very_end_is_noticed(tmp_path: Path, file_size_limit: None, name: str) -> None:
    """The last block is the one that does not fit; FLAC holds it back until the file is closed."""
    audio_format = source("PCM_16", 1, samples=4090 if name == "a.wav" else 4096)
    with pytest.raises(OutputError, match=r"(File too large|shorter).*nothing was written"):
        write(tmp_path / name, audio_format, block=4000)
    assert not list(tmp_path.iterdir())


def test_a_wrong_number_of_samples_is_an_error(tmp_path: Path) -> None:
    audio_format = source("PCM_16")
    with (
        pytest.raises(OutputError, match="expected 5000 samples, got 100"),
        Writer(tmp_path / "a.wav", audio_format) as w,
    ):
        w.write(native(audio_format)[:, :100])
    assert not list(tmp_path.iterdir())


def test_blocks_of_another_type_or_channel_count_are_refused(tmp_path: Path) -> None:
    audio_format = source("PCM_16")
    for block in (np.zeros((2, 5), np.float32), np.zeros((1, 5), np.int32)):
        with pytest.raises(ValueError, match="need int32"), Writer(tmp_path / "a.wav", audio_format) as writer:
            writer.write(block)
