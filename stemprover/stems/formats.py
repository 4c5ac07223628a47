"""Audio formats: which sample type a file is read as, and which file it is written to.

Three kinds of subtype are told apart:

* integer PCM, read and written as left-justified ``int32`` (a 16-bit sample is a multiple of 65536), so that a round
  trip is exact;
* floating point, read and written as ``float32`` or ``float64``;
* coded: MP3, Vorbis and Opus decode to ``float32`` and are written as 32-bit float WAV, which keeps the decoder's
  samples exactly, those beyond full scale included, or as 24-bit FLAC when the user names a ``.flac`` file. Telephone
  codecs (mu-law, ADPCM) decode to 16-bit integers and are written as 16-bit PCM.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from stemprover.errors import AudioError, OutputError

__all__ = [
    "AudioFormat",
    "check_output_name",
    "clear_peak_time",
    "default_suffix",
    "known_subtype",
    "output_format",
    "pcm_bits",
]

_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_DECODES_TO = {
    **dict.fromkeys(("VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"), "FLOAT"),
    **dict.fromkeys(("ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"), "PCM_16"),
}
_CONTAINERS = ("WAV", "WAVEX", "RF64", "FLAC", "AIFF", "OGG", "MP3")
_LONGEST = 2**40  # samples; libsndfile says 2**63 - 1 for a FLAC file without a length
_WAV_FAMILY = ("WAV", "WAVEX", "RF64")
_WAV_LIMIT = 2**32 - 2**20  # a RIFF size is 32 bits; leave room for the header
_FLAC_CHANNELS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class AudioFormat:
    """What a file holds.

    Attributes
    ----------
    sample_rate : int
        Hz.
    channels, samples : int
        Number of channels, and of samples per channel.
    container, subtype : str
        libsndfile's names, for example ``WAV`` and ``PCM_24``.
    """

    sample_rate: int
    channels: int
    samples: int
    container: str
    subtype: str

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate

    @property
    def native_subtype(self) -> str:
        """The PCM or float subtype of the decoded samples; for PCM and float files the subtype itself."""
        return _DECODES_TO.get(self.subtype, self.subtype)

    @property
    def native_dtype(self) -> str:
        """``int32``, ``float32`` or ``float64``: what :meth:`Stem.read_native` returns."""
        return {"FLOAT": "float32", "DOUBLE": "float64"}.get(self.native_subtype, "int32")

    @property
    def is_lossy(self) -> bool:
        """Whether the samples come from a perceptual codec (MP3, Vorbis, Opus)."""
        return self.subtype != "FLOAT" and self.native_subtype == "FLOAT"


def pcm_bits(subtype: str) -> int:
    """Return the bits per sample of an integer subtype, 8 to 32; ``KeyError`` for any other."""
    return _BITS[_DECODES_TO.get(subtype, subtype)]


def known_subtype(subtype: str) -> bool:
    """Whether files of this subtype can be read."""
    return subtype in _BITS or subtype in ("FLOAT", "DOUBLE") or subtype in _DECODES_TO


def default_suffix(source: AudioFormat) -> str:
    """Return ``.flac`` for FLAC input, else ``.wav``."""
    return ".flac" if source.container == "FLAC" else ".wav"


def output_format(source: AudioFormat, path: Path) -> AudioFormat:
    """Choose container and subtype for writing ``source``'s samples to ``path`` without loss.

    Raises
    ------
    OutputError
        If the suffix is neither ``.wav`` nor ``.flac``, or FLAC cannot hold the samples.
    """
    check_output_name(path.name)
    return _flac_format(source, path) if path.suffix.lower() == ".flac" else _wav_format(source)


def check_output_name(name: str) -> None:
    """Raise ``OutputError`` unless a name ends in ``.wav`` or ``.flac``."""
    stem, _, suffix = name.rpartition(".")
    if not stem or suffix.lower() not in ("wav", "wave", "flac"):
        raise OutputError("an output name that ends in .wav or .flac", f"'{name}'", f"use '{stem or suffix}.wav'")


def _wav_format(source: AudioFormat) -> AudioFormat:
    subtype = "PCM_U8" if source.native_subtype == "PCM_S8" else source.native_subtype
    width = np.dtype(source.native_dtype).itemsize if subtype in ("FLOAT", "DOUBLE") else pcm_bits(subtype) // 8
    container = source.container if source.container in _WAV_FAMILY else "WAV"
    if source.samples * source.channels * width > _WAV_LIMIT:
        container = "RF64"
    return dataclasses.replace(source, container=container, subtype=subtype)


def _flac_format(source: AudioFormat, path: Path) -> AudioFormat:
    subtype = "PCM_S8" if source.native_subtype == "PCM_U8" else source.native_subtype
    if source.is_lossy:
        subtype = "PCM_24"
    if subtype not in ("PCM_S8", "PCM_16", "PCM_24"):
        raise OutputError(
            "8, 16 or 24-bit samples for a FLAC file", f"{subtype} samples", f"write '{path.stem}.wav' instead"
        )
    if source.channels > _FLAC_CHANNELS:
        raise OutputError(
            f"at most {_FLAC_CHANNELS} channels for a FLAC file",
            f"{source.channels} channels",
            f"write '{path.stem}.wav' instead",
        )
    return dataclasses.replace(source, container="FLAC", subtype=subtype)


def check_format(audio_format: AudioFormat, where: str) -> None:
    """Reject formats that cannot be processed.

    Raises
    ------
    AudioError
        For an unsupported container, subtype or sample rate, no samples or no length.
    """
    if audio_format.container not in _CONTAINERS or not known_subtype(audio_format.subtype):
        raise AudioError(
            "a WAV, FLAC, AIFF, OGG or MP3 file with PCM, float, Vorbis, Opus or MP3 samples",
            f"{audio_format.container} with {audio_format.subtype} in {where}",
            "convert the file to WAV or FLAC first",
        )
    if not 8_000 <= audio_format.sample_rate <= 192_000:
        raise AudioError(
            "a sample rate from 8000 to 192000 Hz",
            f"{audio_format.sample_rate} Hz in {where}",
            "resample the file first",
        )
    if audio_format.samples < 1 or audio_format.channels < 1:
        raise AudioError("at least one sample", f"zero samples in {where}", "check how the file was exported")
    if audio_format.samples > _LONGEST:
        raise AudioError("a file that says how long it is", f"no length in {where}", "convert it again, not by a pipe")


def clear_peak_time(path: Path) -> None:
    """Zero the time stamp that libsndfile puts into float WAV files: same samples, same bytes."""
    with path.open("rb+") as file:
        head = file.read(4096)
        at = head.find(b"PEAK")
        if head[:4] in (b"RIFF", b"RF64") and 0 <= at < head.find(b"data"):
            file.seek(at + 12)
            file.write(bytes(4))
