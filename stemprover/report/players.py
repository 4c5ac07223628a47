"""An excerpt for listening: before, after and the difference as ``data:`` addresses."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Mapping

import numpy as np
import soundfile

from stemprover.report.inputs import AudioSource
from stemprover.stems import resample

__all__ = ["EXCERPT_S", "Excerpt", "Track", "cut_excerpt"]

EXCERPT_S = 60.0
_LOSSLESS_BYTES = 2_000_000
_MIME = {"FLAC": "audio/flac", "MP3": "audio/mpeg"}
_PLAYER_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_MOST_BOOST_DB = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Track:
    """One encoded signal.

    Attributes
    ----------
    name : str
        ``before``, ``after`` or ``difference``.
    uri : str
        ``data:`` address.
    boost_db : float
        By how much the encoded signal is louder than the true one; a player turns its volume down by as much.
    """

    name: str
    uri: str
    boost_db: float


@dataclasses.dataclass(frozen=True, slots=True)
class Excerpt:
    """The stretch that can be heard on the page.

    Attributes
    ----------
    start_s, end_s : float
        Where it lies in the file.
    whole : bool
        True when it is the whole file.
    codec : str
        ``FLAC`` or ``MP3``.
    gain_db : float
        At most 0: the gain that keeps samples beyond full scale from clipping, the same for all tracks.
    downmixed : bool
        True when more than two channels were mixed to stereo.
    tracks : tuple of Track
        Empty for a file without samples.
    """

    start_s: float
    end_s: float
    whole: bool
    codec: str
    gain_db: float
    downmixed: bool
    tracks: tuple[Track, ...]


def _playable(audio: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    """At most two channels, at a rate that browsers and MP3 know: ``[samples, channels]`` and the rate."""
    if audio.shape[0] > 2:
        audio = np.stack([audio[0::2].mean(0), audio[1::2].mean(0)])
    if rate in _PLAYER_RATES:
        return audio.T, rate
    target = next((known for known in _PLAYER_RATES if known >= rate), 48_000)
    return np.asarray(resample(audio, rate, target)).T, target


def _encode(audio: np.ndarray, rate: int, container: str) -> bytes:
    buffer = io.BytesIO()
    if container == "FLAC":
        soundfile.write(buffer, audio, rate, format="FLAC", subtype="PCM_16")
    else:
        soundfile.write(buffer, audio, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.0)
    return buffer.getvalue()


def _peak(audio: np.ndarray) -> float:
    return float(np.abs(audio).max(initial=0.0))


def _boost_db(difference: np.ndarray) -> float:
    """Whole 3 dB steps that bring a quiet difference signal near full scale."""
    headroom = -20 * np.log10(max(_peak(difference), 1e-9))
    return float(np.clip(3 * np.floor(headroom / 3) - 3, 0.0, _MOST_BOOST_DB))


def _read(before: AudioSource, after: AudioSource | None, start: int, stop: int) -> dict[str, np.ndarray]:
    signals = {"before": before.read(start, stop)}
    if after is not None:
        signals["after"] = after.read(start, stop)
        signals["difference"] = signals["after"] - signals["before"]
    return signals


def _encode_all(sound: Mapping[str, tuple[np.ndarray, int]]) -> tuple[str, dict[str, bytes]]:
    """Encode as FLAC, or as MP3 when that gets too big."""
    encoded = {name: _encode(audio, rate, "FLAC") for name, (audio, rate) in sound.items()}
    if max(map(len, encoded.values())) <= _LOSSLESS_BYTES:
        return "FLAC", encoded
    return "MP3", {name: _encode(audio, rate, "MP3") for name, (audio, rate) in sound.items()}


def cut_excerpt(before: AudioSource, after: AudioSource | None, start_s: float) -> Excerpt:
    """Read, scale and encode at most 60 s.

    Lossless where that stays small (2 MB a track), else MP3 at its best quality: artifacts at high frequencies must
    not drown in those of the player.

    Parameters
    ----------
    before, after : AudioSource
        The signals; with no ``after`` there is one track.
    start_s : float
        Where the excerpt starts.
    """
    form = before.format
    rate = form.sample_rate
    start = min(max(round(start_s * rate), 0), form.samples)
    stop = min(start + round(EXCERPT_S * rate), form.samples)
    empty = Excerpt(start / rate, stop / rate, stop - start == form.samples, "FLAC", 0.0, form.channels > 2, ())
    if stop == start:
        return empty
    signals = _read(before, after, start, stop)
    boost = {"difference": _boost_db(signals["difference"])} if after is not None else {}
    loudest = max(_peak(audio) for name, audio in signals.items() if name != "difference")
    gain = min(1.0, 0.999 / max(loudest, 1e-9))
    sound = {name: _playable(audio * gain * 10 ** (boost.get(name, 0.0) / 20), rate) for name, audio in signals.items()}
    codec, encoded = _encode_all(sound)
    tracks = tuple(
        Track(name, f"data:{_MIME[codec]};base64,{base64.b64encode(data).decode('ascii')}", boost.get(name, 0.0))
        for name, data in encoded.items()
    )
    return dataclasses.replace(empty, codec=codec, gain_db=20 * float(np.log10(gain)), tracks=tracks)
