"""A model of audio-separator as a separator of the host."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
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

# Roformers reflect half a window of 2,048 samples at both ends, which a shorter song does not have.
_SHORTEST = 4_096
# No random shifts: same input, same samples.
_DEMUCS = {"segment_size": "Default", "shifts": 0, "overlap": 0.25, "segments_enabled": True}


class AudioSeparator:
    """One model; it is fetched and loaded by the first call.

    audio-separator works from file to file. The mixture is handed over as 32-bit float with a peak of exactly one, and
    the stems are brought back to its level: nothing is quantised, and audio-separator's MDX models multiply what they
    find by the mixture's peak.

    Parameters
    ----------
    name : str
        A key of ``MODELS``.
    folder : Path, optional
        Where models are kept; else what ``AUDIO_SEPARATOR_MODEL_DIR`` says, else a folder in the user's cache.

    Raises
    ------
    PluginError
        By the first call, where audio-separator, ffmpeg or the model is missing; by any, where audio-separator fails.
    """

    sample_rate = 44_100

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.name = name
        self._model = MODELS[name]
        home = Path.home() / ".cache" / "stemprover" / "audio-separator"
        self._folder = folder or Path(os.environ.get(FOLDER_VARIABLE) or home)
        self._made: dict[bool, Any] = {}

    @property
    def stems(self) -> tuple[str, ...]:
        """Stem classes that it returns."""
        return self._model.stems

    @functools.cached_property
    def _output(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="stemprover-")

    def _loaded(self, on_cpu: bool) -> Any:
        """audio-separator's object with the model in it."""
        if on_cpu not in self._made:
            kind = _import(self.name)
            try:
                self._made[on_cpu] = self._load(kind, on_cpu)
            except FileNotFoundError as error:
                missing = "ffmpeg" if error.filename == "ffmpeg" else str(error)
                fix = (
                    "install ffmpeg, for example with: apt install ffmpeg" if missing == "ffmpeg" else "fetch it again"
                )
                raise PluginError(f"what separator {self.name} needs", f"no {missing}", fix) from error
            except (Exception, SystemExit) as error:  # whatever a download, a file or one of six libraries may raise
                fix = f"check the network; where a download was cut off, remove its file from '{self._folder}'"
                raise PluginError(f"the model of separator {self.name}", _reason(error), fix) from error
        return self._made[on_cpu]

    def _load(self, kind: Any, on_cpu: bool) -> Any:
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
        made.model_file_dir = str(self._folder)  # the variable would have gone before what the caller asked for
        if on_cpu:  # it takes a GPU wherever it finds one
            made.torch_device, made.onnx_execution_provider = made.torch_device_cpu, ["CPUExecutionProvider"]
        made.load_model(self._model.file)
        # Every stem is normalised by itself, which would change their balance; the argument above may not exceed 1.
        made.model_instance.normalization_threshold = math.inf
        return made

    def separate(self, audio: Tensor) -> Mapping[str, Tensor]:
        """Take a mixture ``[2, samples]`` apart; see :class:`stemprover.separation.base.Separator`.

        It is computed on the CPU where ``audio`` is there, else where audio-separator wants to.
        """
        samples = audio.cpu().numpy()
        peak = float(np.abs(samples).max(initial=0.0))
        if peak == 0.0:
            return {stem: torch.zeros_like(audio) for stem in self.stems}
        folder, length = Path(self._output.name), samples.shape[1]
        source = folder / "mixture.wav"
        mixture = np.pad(samples / peak, ((0, 0), (0, max(0, _SHORTEST - length))))
        soundfile.write(source, mixture.T, self.sample_rate, "FLOAT")
        with contextlib.redirect_stdout(sys.stderr):
            written = self._written(source, audio.device.type == "cpu")
        found = {Path(path).stem: _fitted(folder / Path(path).name, length) for path in written}
        missing = [stem for stem in self.stems if stem not in found]
        if missing:
            fix = f"tell the author of stemprover-separator-audio-separator; its model is {self._model.file}"
            raise PluginError(f"{', '.join(missing)} from separator {self.name}", ", ".join(found) or "nothing", fix)
        return {stem: torch.from_numpy(found[stem] * peak).to(audio) for stem in self.stems}

    def _written(self, source: Path, on_cpu: bool) -> Sequence[str]:
        """Files of the stems, named by stem."""
        made = self._loaded(on_cpu)
        try:
            written: Sequence[str] = made.separate(str(source), dict(self._model.outputs))
        except Exception as error:  # of Demucs even the weights are read only now
            fix = f"where a download was cut off, remove its file from '{self._folder}'"
            raise PluginError(f"separator {self.name} to take the song apart", _reason(error), fix) from error
        return written


def _fitted(path: Path, samples: int) -> np.ndarray:
    """Read a stem, remove its file, and cut or pad it to the mixture's length."""
    audio = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    path.unlink()
    padded = np.pad(audio, ((0, 0), (0, max(0, samples - audio.shape[1]))))[:, :samples]
    return np.ascontiguousarray(np.broadcast_to(padded, (2, samples)))


def _reason(error: BaseException) -> str:
    """What went wrong; of an exit, which audio-separator takes after some errors, what led to it."""
    cause = error.__context__ if isinstance(error, SystemExit) and error.__context__ else error
    return f"{type(cause).__name__}: {str(cause)[:300]}"


def _import(name: str) -> Any:
    try:
        from audio_separator.separator import Separator
    except (ImportError, OSError) as error:
        fix = "run: pip install 'stemprover-separator-audio-separator[all]'"
        raise PluginError(f"audio-separator for separator {name}", f"none that works ({error})", fix) from error
    return Separator
