"""Pairs from an author's own recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemprover.cli.main import main
from stemprover.data.pairs import check, load, read_manifest
from stemprover.data.recorded import import_pairs
from stemprover.errors import TrainingError
from stemprover.testing.signals import music


def record(
    folder: Path, name: str, seconds: float, mixture: bool = False, rate: int = 44_100, channels: int = 2
) -> None:
    clean = music(seconds, rate, channels)
    roles = {"clean": clean, "artifact": clean + 0.05 * music(seconds, rate, channels, seed=9)}
    if mixture:
        roles["mixture"] = 0.5 * (clean + music(seconds, rate, channels, seed=4))
    for role, audio in roles.items():
        (folder / role).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / role / f"{name}.flac", audio.T, rate, subtype="PCM_24")


def test_recordings_become_labelled_pairs_of_two_splits(tmp_path: Path) -> None:
    for name in ("a-vocals", "b-bass"):
        record(tmp_path / "in", name, 5.5, mixture=True)
    done = []
    made = import_pairs(tmp_path / "in", tmp_path / "pairs", "bleed/choir", done.append)
    assert (made.train, made.validation, done) == (2, 2, [1, 1])
    train, validation = (read_manifest(tmp_path / "pairs", split) for split in ("train", "validation"))
    assert ({pair.song for pair in train}, {pair.song for pair in validation}) == ({"a-vocals"}, {"b-bass"})
    assert (train[0].stem, validation[0].stem) == ("vocals", "bass")
    for pair in (*train, *validation):
        check(pair)
        assert pair.has_siblings
        assert "bleed/choir" in pair.artifacts
        assert load(pair).clean.shape == (2, 4 * 44_100)
    whole, _ = soundfile.read(tmp_path / "in" / "clean" / "a-vocals.flac", always_2d=True)
    np.testing.assert_allclose(load(train[0]).clean, whole[: 4 * 44_100].T, atol=1e-6)
    tail = load(train[1]).clean
    np.testing.assert_allclose(tail[:, : len(whole) - 4 * 44_100], whole[4 * 44_100 :].T, atol=1e-6)
    assert not tail[:, len(whole) - 4 * 44_100 :].any(), "a short end is filled with silence"


def test_one_mono_recording_at_another_rate_is_enough(tmp_path: Path) -> None:
    record(tmp_path / "in", "vocals", 9.0, rate=22_050, channels=1)
    made = import_pairs(tmp_path / "in", tmp_path / "pairs", "hum")
    assert (made.train, made.validation) == (2, 1)
    pair = read_manifest(tmp_path / "pairs", "train")[0]
    audio = load(pair)
    assert not pair.has_siblings
    assert np.array_equal(audio.clean[0], audio.clean[1])
    assert np.array_equal(audio.mixture, audio.artifact), "without a mixture there are no siblings"


def test_recordings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="recordings in"):
        import_pairs(tmp_path / "in", tmp_path / "pairs", "hum")
    record(tmp_path / "in", "a", 1.5)
    with pytest.raises(TrainingError, match="add a second recording"):
        import_pairs(tmp_path / "in", tmp_path / "one", "hum")
    record(tmp_path / "in", "b", 1.5)
    path = tmp_path / "in" / "artifact" / "a.flac"
    audio, rate = soundfile.read(path)
    soundfile.write(path, audio[:-1], rate)
    with pytest.raises(TrainingError, match="as long as"):
        import_pairs(tmp_path / "in", tmp_path / "two", "hum")
    path.unlink()
    with pytest.raises(TrainingError, match="a file called a"):
        import_pairs(tmp_path / "in", tmp_path / "three", "hum")


def test_the_command_never_adds_to_pairs_that_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        record(tmp_path / "in", name, 1.5)
    arguments = ["data", "import", str(tmp_path / "in"), "--artifact", "hum", "--out", str(tmp_path / "pairs")]
    for code, words in ((0, "1 train and 1 validation pairs written"), (2, "choose another --out")):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert (caught.value.code or 0) == code
        output = capsys.readouterr()
        assert words in output.out + output.err
