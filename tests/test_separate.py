"""Songs are separated in stretches, at any rate, and written as a stem set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from plugin_site import plugin_site as plugin_site
from separation_songs import Shares, read, song

from stemprover.batch.song_planning import plan_songs
from stemprover.errors import AudioError, OutputError, PluginError
from stemprover.separation.songs import separate_song, stem_paths


class Wrong(Shares):
    """Forgets a stem in the second stretch."""

    calls = 0

    def separate(self, audio: torch.Tensor) -> Mapping[str, torch.Tensor]:
        self.calls += 1
        found = super().separate(audio)
        return found if self.calls == 1 else {"vocals": found["vocals"]}


@pytest.mark.parametrize(("seconds", "channels"), [(150.0, 1), (61.3, 2), (60.0, 2), (3.9, 2), (0.01, 1)])
def test_stretches_join_without_a_trace(tmp_path: Path, seconds: float, channels: int) -> None:
    """A separator that does the same everywhere must give the same as if it had got the song in one piece."""
    path, separator = song(tmp_path / "song.wav", seconds, 8_000, channels), Shares()
    outputs = stem_paths(path, separator, tmp_path / "stems")
    separate_song(path, separator, outputs)
    audio = read(path)
    for name, share in (("vocals", 0.75), ("instrumental", 0.25)):
        assert outputs[name] == tmp_path / "stems" / "song" / f"{name}.wav"
        assert soundfile.info(outputs[name]).subtype == "FLOAT"
        found = read(outputs[name])
        assert found.shape == audio.shape
        assert np.abs(found - share * audio).max() < 1e-6
    assert separator.longest <= 60 * 8_000


def test_other_rates_are_converted_there_and_back(tmp_path: Path) -> None:
    rate = 11_025
    time = np.arange(70 * rate) / rate
    soundfile.write(tmp_path / "song.wav", 0.3 * np.sin(2 * np.pi * 440 * time), rate, "FLOAT")
    outputs = stem_paths(tmp_path / "song.wav", Shares(), tmp_path)
    separate_song(tmp_path / "song.wav", Shares(), outputs)
    found, audio = read(outputs["vocals"]), read(tmp_path / "song.wav")
    assert found.shape == audio.shape
    assert np.abs(found - 0.75 * audio)[:, 200:-200].max() < 1e-4


def test_a_separator_that_breaks_its_promise_leaves_nothing(tmp_path: Path) -> None:
    path = song(tmp_path / "song.wav", 70.0, 8_000)
    with pytest.raises(PluginError, match=r"shares to return .* for instrumental, got nothing"):
        separate_song(path, Wrong(), stem_paths(path, Wrong(), tmp_path / "stems"))
    assert [found.name for found in tmp_path.iterdir()] == ["song.wav"]


def test_songs_that_cannot_be_separated(tmp_path: Path) -> None:
    surround = song(tmp_path / "surround.wav", 0.1, 8_000, 6)
    with pytest.raises(AudioError, match="6 channels"):
        separate_song(surround, Shares(), stem_paths(surround, Shares(), tmp_path / "stems"))
    known = tmp_path / "a" / "song.wav"
    (tmp_path / "song").mkdir()
    (tmp_path / "song" / "vocals.wav").touch()
    jobs, failures = plan_songs({known: "", tmp_path / "other.wav": ""}, Shares(), tmp_path)
    assert [job.song.name for job in jobs] == ["other.wav"]
    assert isinstance(failures[0].error, OutputError)
    assert "which exists" in str(failures[0].error)
    assert len(plan_songs({known: ""}, Shares(), tmp_path, replaceable=True)[0]) == 1
