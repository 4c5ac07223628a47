"""DTLN (Westhausen and Meyer 2020), a small recurrent network that isolates speech and singing: a real neural source
of artifacts at 16 kHz, run frame by frame from its two ONNX models."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from stemprover.spectral.spec import SPEC

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["find_models", "separate_with_dtln"]

RATE = 16_000
FRAME, HOP = 512, 128
LATENCY = FRAME - HOP


def find_models(data: Path) -> Path | None:
    """Return ``data/dtln`` if both models lie there."""
    folder = data / "dtln"
    return folder if all((folder / f"model_{k}.onnx").is_file() for k in (1, 2)) else None


def separate_with_dtln(models: Path, mixture: np.ndarray) -> np.ndarray:
    """Isolate the voice in a mixture, channel by channel.

    Parameters
    ----------
    models : Path
        Folder with ``model_1.onnx`` and ``model_2.onnx``.
    mixture : ndarray
        Float32 at 44.1 kHz, shape ``[channels, samples]``.

    Returns
    -------
    ndarray
        Same shape; nothing above 8 kHz.
    """
    narrow = soxr.resample(mixture.T, SPEC.sample_rate, RATE)
    voices = np.stack([_process(models, channel) for channel in np.asarray(narrow, np.float32).T], axis=1)
    wide = soxr.resample(voices, RATE, SPEC.sample_rate).T[:, : mixture.shape[1]]
    return np.pad(wide, ((0, 0), (0, mixture.shape[1] - wide.shape[1]))).astype(np.float32)


@functools.lru_cache(maxsize=4)
def _session(path: Path) -> InferenceSession:
    import onnxruntime  # heavy, and only needed for this source

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _process(models: Path, audio: np.ndarray) -> np.ndarray:
    """Mask the spectrum (model 1), refine the frame (model 2), overlap-add; recurrent, hence the loop over frames."""
    first, second = _session(models / "model_1.onnx"), _session(models / "model_2.onnx")
    states = [np.zeros(session.get_inputs()[1].shape, np.float32) for session in (first, second)]
    padded = np.pad(audio, (LATENCY, FRAME + LATENCY))
    out = np.zeros(padded.size, np.float32)
    for start in range(0, padded.size - FRAME + 1, HOP):
        spectrum = np.fft.rfft(padded[start : start + FRAME])
        mask, states[0] = _run(first, np.abs(spectrum), states[0])
        frame, states[1] = _run(second, np.fft.irfft(mask * spectrum, FRAME), states[1])
        out[start : start + FRAME] += frame
    return out[LATENCY : LATENCY + audio.size]


def _run(session: InferenceSession, values: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    names = [item.name for item in session.get_inputs()]
    result, state = session.run(None, {names[0]: values.reshape(1, 1, -1).astype(np.float32), names[1]: state})
    return np.asarray(result).reshape(-1), state
