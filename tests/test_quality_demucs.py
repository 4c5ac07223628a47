"""Running Demucs from a file: its transforms and segments, with a network that answers with what it hears."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
import quality_demucs
from quality_demucs import DemucsFileError, separate_with_demucs
from quality_sets import demucs_items
from scipy import ndimage


class _Echo:
    """Says of the first two stems what it hears, by its spectrum of one and its waveform of the other."""

    def __init__(self) -> None:
        self.heard: list[np.ndarray] = []

    def get_inputs(self) -> list[types.SimpleNamespace]:
        return [types.SimpleNamespace(name="audio"), types.SimpleNamespace(name="spectrum")]

    def run(self, _outputs: None, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        audio, spectrum = inputs["audio"], inputs["spectrum"]
        self.heard.append(audio)
        masked, waveform = (
            np.zeros((1, 4, *spectrum.shape[1:]), np.float32),
            np.zeros((1, 4, *audio.shape[1:]), np.float32),
        )
        masked[:, 0], waveform[:, 1] = spectrum, audio
        return masked, waveform


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> _Echo:
    made = _Echo()
    monkeypatch.setattr(quality_demucs, "_session", lambda _model: made)
    return made


@pytest.mark.parametrize("seconds", [1.0, 9.0])
def test_what_the_network_answers_comes_back_where_it_was(echo: _Echo, seconds: float) -> None:
    noise = np.random.default_rng(1).normal(0.02, 0.1, (2, round(44_100 * seconds)))
    mixture = ndimage.convolve1d(noise, np.array([1, 4, 6, 4, 1]) / 16)  # nothing at the highest bin, which is left out
    stems = separate_with_demucs(Path("unread"), mixture)
    assert list(stems) == ["drums", "bass", "other", "vocals"]
    np.testing.assert_allclose(stems["bass"], mixture, atol=1e-6)
    inside = slice(2048, -2048)  # where frames are left out at a segment's ends its spectrum says less, as in Demucs
    np.testing.assert_allclose(stems["drums"][:, inside], mixture[:, inside], atol=3e-3)
    for name in ("other", "vocals"):
        np.testing.assert_allclose(stems[name], mixture.mean(), atol=1e-9)
    assert {heard.shape for heard in echo.heard} == {(1, 2, 343_980)}


def test_it_hears_alike_at_every_level(echo: _Echo) -> None:
    mixture = np.random.default_rng(2).normal(0, 0.1, (2, 44_100))
    for level in (1.0, 0.01):
        separate_with_demucs(Path("unread"), level * mixture)
    np.testing.assert_allclose(echo.heard[0], echo.heard[1], rtol=1e-4, atol=1e-5)


def test_another_file_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "htdemucs.onnx"
    model.write_bytes(b"another one")
    with pytest.raises(DemucsFileError, match=r"expected htdemucs\.onnx of npm's demucs 1\.0\.0, got another file in"):
        separate_with_demucs(model, np.zeros((2, 44_100)))


def test_without_the_file_there_are_no_items(tmp_path: Path) -> None:
    assert list(demucs_items(tmp_path, 1.0, None)) == []
