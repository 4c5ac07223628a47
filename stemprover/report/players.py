"""An excerpt for listening: signals and their differences as ``data:`` addresses."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Mapping

import numpy as np
import soundfile

from stemprover.report.inputs import AudioSource
from stemprover.stems import resample

__all__ = ["EXCERPT_S", "Excerpt", "Track", "cut_excerpt", "cut_tracks"]

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
        ``before``, ``after`` or ``difference``, or what a comparison calls it.
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


def _encode_all(sound: Mapping[str, tuple[np.ndarray, int]]) -> tuple[str, dict[str, bytes]]:
    """Encode as FLAC, or as MP3 when that gets too big."""
    encoded = {name: _encode(audio, rate, "FLAC") for name, (audio, rate) in sound.items()}
    if max(map(len, encoded.values())) <= _LOSSLESS_BYTES:
        return "FLAC", encoded
    return "MP3", {name: _encode(audio, rate, "MP3") for name, (audio, rate) in sound.items()}


def cut_excerpt(before: AudioSource, after: AudioSource | None, start_s: float) -> Excerpt:
    """Cut at most 60 s of a repair: before, after and the difference; with no ``after`` there is one track."""
    if after is None:
        return cut_tracks({"before": before}, {}, start_s)
    return cut_tracks({"before": before, "after": after}, {"difference": ("after", "before")}, start_s)


def cut_tracks(
    sources: Mapping[str, AudioSource],
    differences: Mapping[str, tuple[str, str]],
    start_s: float,
    length_s: float = EXCERPT_S,
) -> Excerpt:
    """Read, scale and encode an excerpt of several signals.

    Lossless where that stays small (2 MB a track), else MP3 at its best quality: artifacts at high frequencies must
    not drown in those of the player.

    Parameters
    ----------
    sources : Mapping[str, AudioSource]
        Signals of one rate, length and number of channels.
    differences : Mapping[str, tuple of str]
        More tracks: the first named signal minus the second. All are louder by the same gain.
    start_s, length_s : float
        Where the excerpt starts, and its highest length.
    """
    form = next(iter(sources.values())).format
    rate = form.sample_rate
    start = min(max(round(start_s * rate), 0), form.samples)
    stop = min(start + round(length_s * rate), form.samples)
    empty = Excerpt(start / rate, stop / rate, stop - start == form.samples, "FLAC", 0.0, form.channels > 2, ())
    if stop == start:
        return empty
    signals = {name: source.read(start, stop) for name, source in sources.items()}
    loudest = max(map(_peak, signals.values()))
    gain = min(1.0, 0.999 / max(loudest, 1e-9))
    extra = {name: signals[first] - signals[second] for name, (first, second) in differences.items()}
    boost_db = min(map(_boost_db, extra.values()), default=0.0)
    scaled = {name: audio * gain for name, audio in signals.items()}
    scaled |= {name: audio * gain * 10 ** (boost_db / 20) for name, audio in extra.items()}
    codec, encoded = _encode_all({name: _playable(audio, rate) for name, audio in scaled.items()})
    tracks = tuple(
        Track(name, f"data:{_MIME[codec]};base64,{base64.b64encode(data).decode('ascii')}", boost_db * (name in extra))
        for name, data in encoded.items()
    )
    return dataclasses.replace(empty, codec=codec, gain_db=20 * float(np.log10(gain)), tracks=tracks)
