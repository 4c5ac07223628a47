"""Bad input: one line that says what was expected, what arrived and what to do; exit code 2; nothing written."""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from adapter_site import NAME, install, site_with_adapter, trained_adapter  # noqa: F401 - fixtures

from stemprover import errors
from stemprover.cli.main import main
from stemprover.errors import StemProverError

RATE = 44_100
Run = Callable[..., str]


def noise(samples: int = RATE, channels: int = 2) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((samples, channels))


def write(path: Path, audio: np.ndarray | None = None, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise() if audio is None else audio, RATE, subtype=subtype)
    return path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder, with what is in it."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.fixture(name="refused")
def checked_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], adapter_site: Path) -> Run:
    """Runs ``enhance`` and checks everything that holds for every refusal; returns the message."""

    def run(*arguments: str | Path, adapter: str = NAME) -> str:
        before = contents(tmp_path)
        with pytest.raises(SystemExit) as exit_:
            main(["enhance", "--quality", "fast", *map(str, arguments), *(["--adapter", adapter] if adapter else [])])
        out, err = capsys.readouterr()
        assert exit_.value.code == 2
        assert out == ""
        assert err.startswith("stemprover: error: expected ")
        assert ", got " in err
        assert "; " in err
        assert err.count("\n") == 1, err
        assert contents(tmp_path) == before
        return err

    return run


def truncated(path: Path, share: float = 0.5) -> Path:
    data = write(path).read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def empty_wav(path: Path) -> Path:
    header = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16) + b"data" + struct.pack("<I", 0)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(header)) + header)
    return path


def text_file(path: Path) -> Path:
    path.write_text("these are not the sounds you are looking for")
    return path


def spoiled(value: float) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        audio = noise()
        audio[RATE // 2, 1] = value
        return write(path, audio, "FLOAT")

    return make


def touched(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.parametrize(
    ("name", "make", "part"),
    [
        ("a.wav", lambda path: path, "nothing at"),
        ("a.wav", touched, "0 bytes"),
        ("a.wav", truncated, "cut off"),
        ("a.flac", truncated, "cut off"),
        ("a.ogg", lambda path: truncated_ogg(path), "cut off"),
        ("a.wav", text_file, "not audio"),
        ("a.mp3", text_file, "not audio"),
        ("a.wav", empty_wav, "zero samples"),
        ("a.wav", spoiled(np.nan), "NaN or infinity"),
        ("a.wav", spoiled(np.inf), "NaN or infinity"),
    ],
)
def test_bad_files(tmp_path: Path, refused: Run, name: str, make: Callable[[Path], Path], part: str) -> None:
    message = refused(make(tmp_path / name))
    assert part in message
    assert name in message


def truncated_ogg(path: Path) -> Path:
    data = write(path, subtype="VORBIS").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def test_neither_auto_detect_nor_adapter_names_both(tmp_path: Path, refused: Run) -> None:
    message = refused(write(tmp_path / "a.wav"), adapter="")
    assert "--auto-detect" in message
    assert "--adapter" in message


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--strength", "1.5"], "a strength from 0 to 1"),
        (["--strength", "nan"], "a strength from 0 to 1"),
        (["--adapter", "hornbleed"], "'hornbleed'"),
        (["--without", "hornbleed"], "'hornbleed'"),
        (["--adapter", "embedded"], "embedded, a vocoder"),
        (["--adapter", f"{NAME}:3"], "a strength from 0 to 2"),
        (["--vocoder", "hornvoice"], "'hornvoice'"),
        (["--vocoder", NAME], f"{NAME}, a lora"),
        (["--base", "no/such/base"], "no/such/base"),
        (["--mixture-consistent"], "--mixture-consistent"),
        (["--device", "mps"], "mps"),
        (["--safe-mode"], NAME),
    ],
)
def test_bad_options(tmp_path: Path, refused: Run, options: list[str], part: str) -> None:
    assert part in refused(write(tmp_path / "a.wav"), *options)


def test_stems_of_a_set_must_match(tmp_path: Path, refused: Run) -> None:
    write(tmp_path / "song" / "bass.wav")
    write(tmp_path / "song" / "drums.wav", noise(RATE - 1))
    assert "44099 samples" in refused(tmp_path / "song")
    assert "44099 samples" in refused(tmp_path / "song" / "bass.wav", "--mixture", tmp_path / "song" / "drums.wav")
    assert "none in" in refused(tmp_path / "site")
    assert "one stem for --stem" in refused(same_length(tmp_path / "pair"), "--stem", "vocals")


def same_length(folder: Path) -> Path:
    for name in ("bass.wav", "drums.wav"):
        write(folder / name)
    return folder


def test_adapter_of_another_base_is_refused(tmp_path: Path, refused: Run, adapter_site: Path) -> None:
    path = adapter_site / f"acme_{NAME}" / "stemprover.json"
    manifest = json.loads(path.read_text())
    manifest["base"]["sha256"] = "c" * 64
    path.write_text(json.dumps(manifest))
    assert "cccccccccccc" in refused(write(tmp_path / "a.wav"))


def test_tampered_weights_are_refused(tmp_path: Path, refused: Run, adapter_site: Path) -> None:
    path = adapter_site / f"acme_{NAME}" / "adapter" / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "SHA-256" in refused(write(tmp_path / "a.wav"))


def test_outputs_that_cannot_be(tmp_path: Path, refused: Run) -> None:
    stem = write(tmp_path / "a.wav")
    assert "not an input" in refused(stem, "-o", stem, "--overwrite")
    assert "not an input" in refused(stem, "--suffix", "", "--overwrite")
    assert "a.mp3" in refused(stem, "-o", tmp_path / "a.mp3")
    assert "a.wav" in refused(stem, "-o", stem / "below" / "b.wav")
    write(tmp_path / "a.enhanced.wav")
    assert "--overwrite" in refused(stem)


def test_output_in_a_folder_that_is_locked(tmp_path: Path, refused: Run) -> None:
    stem = write(tmp_path / "a.wav")
    locked = Path("/proc/stemprover")  # root may write everywhere but there
    if os.geteuid() != 0:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
    assert str(locked) in refused(stem, "-o", locked / "b.wav")


@pytest.fixture(name="tiny_files")
def file_size_limit(adapter_site: Path, stem_40k: Path) -> Iterator[None]:
    """No file may grow beyond 16 KiB: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("tiny_files")
@pytest.mark.parametrize("name", ["b.flac", "new/folder/b.wav"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, refused: Run, stem_40k: Path, name: str) -> None:
    assert "nothing was written" in refused(stem_40k, "-o", tmp_path / name)


@pytest.fixture(name="stem_40k")
def stem_of_40_kib(tmp_path: Path) -> Path:
    return write(tmp_path / "a.wav", noise(10_000))


def test_every_error_is_one_line_with_three_parts() -> None:
    tree = [getattr(errors, name) for name in errors.__all__]
    assert all(issubclass(kind, StemProverError) for kind in tree)
    for kind in tree:
        error = kind("one\nthing", " another ", "do  this")
        assert str(error) == "expected one thing, got another; do this"
        again = pickle.loads(pickle.dumps(error))  # as between the processes of a cluster
        assert (type(again), str(again), again.fix) == (kind, str(error), "do this")


def test_installing_a_second_adapter_does_not_hide_the_first(tmp_path: Path, trained: Path, refused: Run) -> None:
    install(tmp_path / "site", "other", trained)
    assert "'third'" in refused(write(tmp_path / "a.wav"), "--adapter", "third")
