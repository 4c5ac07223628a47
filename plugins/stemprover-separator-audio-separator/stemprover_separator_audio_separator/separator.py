"""A model of audio-separator as a separator of the host."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from stemprover.errors import PluginError
from stemprover_separator_audio_separator.models import MODELS

__all__ = ["FOLDER_VARIABLE", "AudioSeparator"]

FOLDER_VARIABLE = "AUDIO_SEPARATOR_MODEL_DIR"
"""Environment variable with the folder for models; audio-separator's own."""

_PEAK = 0.25
# No random shifts: same input, same samples.
_DEMUCS = {"segment_size": "Default", "shifts": 0, "overlap": 0.25, "segments_enabled": True}


class AudioSeparator:
    """One model; it is fetched and loaded by the first call.

    audio-separator works from file to file. The mixture is handed over as 32-bit float at a quarter of full scale, so
    that nothing is quantised and no output is normalised, and the stems are brought back to its level.

    Parameters
    ----------
    name : str
        A key of ``MODELS``.
    folder : Path, optional
        Where models are kept; else what ``AUDIO_SEPARATOR_MODEL_DIR`` says, else a folder in the user's cache.
    """

    sample_rate = 44_100

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.name = name
        self._model = MODELS[name]
        home = Path.home() / ".cache" / "stemprover" / "audio-separator"
        self._folder = folder or Path(os.environ.get(FOLDER_VARIABLE, home))

    @property
    def stems(self) -> tuple[str, ...]:
        """Stem classes that it returns."""
        return self._model.stems

    @functools.cached_property
    def _output(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="stemprover-")

    @functools.cached_property
    def _loaded(self) -> Any:
        """audio-separator's object with the model in it."""
        kind = _import(self.name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            made = kind(
                log_level=logging.ERROR,
                model_file_dir=str(self._folder),
                output_dir=self._output.name,
                output_format="WAV",
                use_soundfile=True,
                normalization_threshold=1.0,
                sample_rate=self.sample_rate,
                demucs_params=_DEMUCS,
            )
            made.load_model(self._model.file)
        except FileNotFoundError as error:
            missing = "ffmpeg" if error.filename == "ffmpeg" else str(error)
            fix = "install ffmpeg, for example with: apt install ffmpeg" if missing == "ffmpeg" else "fetch it again"
            raise PluginError(f"what separator {self.name} needs", f"no {missing}", fix) from error
        except Exception as error:  # whatever a download, a file or one of six libraries may raise
            got = f"{type(error).__name__}: {error}"
            fix = f"check the network and the files in '{self._folder}'"
            raise PluginError(f"the model of separator {self.name}", got, fix) from error
        return made

    def separate(self, audio: Tensor) -> Mapping[str, Tensor]:
        """Take a mixture ``[2, samples]`` apart; see :class:`stemprover.separation.base.Separator`."""
        samples = audio.cpu().numpy()
        peak = float(np.abs(samples).max(initial=0.0))
        if peak == 0.0:
            return {stem: torch.zeros_like(audio) for stem in self.stems}
        folder = Path(self._output.name)
        source = folder / "mixture.wav"
        soundfile.write(source, samples.T * (_PEAK / peak), self.sample_rate, "FLOAT")
        with contextlib.redirect_stdout(sys.stderr):
            written = self._loaded.separate(str(source), dict(self._model.outputs))
        found = {Path(path).stem: _fitted(folder / Path(path).name, samples.shape[1]) for path in written}
        missing = [stem for stem in self.stems if stem not in found]
        if missing:
            fix = f"tell the author of stemprover-separator-audio-separator; its model is {self._model.file}"
            raise PluginError(f"{', '.join(missing)} from separator {self.name}", ", ".join(found) or "nothing", fix)
        return {stem: torch.from_numpy(found[stem] * (peak / _PEAK)).to(audio) for stem in self.stems}


def _fitted(path: Path, samples: int) -> np.ndarray:
    """Read a stem, remove its file, and cut or pad it to the mixture's length."""
    audio = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    path.unlink()
    padded = np.pad(audio, ((0, 0), (0, max(0, samples - audio.shape[1]))))[:, :samples]
    return np.ascontiguousarray(np.broadcast_to(padded, (2, samples)))


def _import(name: str) -> Any:
    try:
        from audio_separator.separator import Separator
    except (ImportError, OSError) as error:
        fix = "run: pip install 'stemprover-separator-audio-separator[all]'"
        raise PluginError(f"audio-separator for separator {name}", f"none that works ({error})", fix) from error
    return Separator
