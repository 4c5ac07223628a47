"""The same pair in other clothes: played faster or slower, with another timbre, panned elsewhere.

Real separators' stems are few, and a model that meets the same three minutes again and again learns them by heart: on
LarsNet's training stems the second release gained 1.0 dB, on the end of the same recordings 0.1 dB. Each variation is
linear and the same for clean stem, degraded stem and mixture, so what is true of one pair is true of its variation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import soxr

from stemprover.detection import Detection
from stemprover.spectral.bands import band_centres_hz
from stemprover.spectral.spec import SPEC

__all__ = ["AS_IT_IS", "Variation", "draw_variation"]

_SPEEDS = (0.8, 1.25)
_ANGLE = np.pi / 9
_TILT_DB = 4.0
_KNOTS_HZ = (40.0, 150.0, 600.0, 2_400.0, 9_600.0, 22_050.0)


@dataclasses.dataclass(frozen=True)
class Variation:
    """What changes.

    Attributes
    ----------
    speed : float
        1.25 plays a quarter faster, and so higher.
    angle : float
        Rotation of the stereo image in radians.
    gains_db : tuple of float
        Equaliser at 40 Hz, 150 Hz, ... 22 kHz, linear in between on a logarithmic scale of frequency; empty for none.
    """

    speed: float = 1.0
    angle: float = 0.0
    gains_db: tuple[float, ...] = ()

    def length(self, samples: int) -> int:
        """How many samples of a pair give ``samples``."""
        return round(samples * self.speed)

    def audio(self, audio: np.ndarray, samples: int) -> np.ndarray:
        """Vary float32 audio ``[parts, 2, length(samples)]``; gives ``[parts, 2, samples]``."""
        if self.speed != 1.0:
            flat = audio.reshape(-1, audio.shape[-1]).T
            played = soxr.resample(flat, self.speed * SPEC.sample_rate, SPEC.sample_rate, "MQ").T
            fitted = np.zeros((len(played), samples), np.float32)
            fitted[:, : played.shape[1]] = played[:, :samples]
            audio = fitted.reshape(*audio.shape[:-1], samples)
        if self.gains_db:
            frequencies = np.fft.rfftfreq(samples, 1.0 / SPEC.sample_rate)
            curve = np.interp(np.log(frequencies + 1.0), np.log(np.array(_KNOTS_HZ) + 1.0), self.gains_db)
            spectrum = np.fft.rfft(audio) * 10.0 ** (curve / 20.0)
            audio = np.fft.irfft(spectrum, samples).astype(np.float32)
        if self.angle:
            cosine, sine = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
            left, right = audio[:, 0], audio[:, 1]
            audio = np.stack([cosine * left + sine * right, cosine * right - sine * left], 1)
        return audio

    def map(self, values: np.ndarray, frames: int) -> np.ndarray:
        """Where the cells of a map ``[n_bands, length(frames)]`` come to lie: ``[n_bands, frames]``."""
        if self.speed == 1.0:
            return values
        centres = band_centres_hz()
        bands = np.abs(centres[None] - centres[:, None] / self.speed).argmin(1)
        times = np.minimum(np.round(np.arange(frames) * self.speed).astype(int), values.shape[1] - 1)
        moved: np.ndarray = values[np.ix_(bands, times)]
        return moved

    def detections(self, found: Sequence[Detection]) -> tuple[Detection, ...]:
        """Where detections come to lie when the whole pair is varied."""
        nyquist = SPEC.sample_rate / 2
        return tuple(
            dataclasses.replace(
                one,
                start_s=one.start_s / self.speed,
                end_s=one.end_s / self.speed,
                low_hz=one.low_hz * self.speed,
                high_hz=nyquist if one.high_hz >= nyquist else min(one.high_hz * self.speed, nyquist),
            )
            for one in found
            if one.low_hz * self.speed < nyquist
        )


AS_IT_IS = Variation()


def draw_variation(rng: np.random.Generator) -> Variation:
    """Draw one; each of the three changes two times out of three."""
    speed = float(np.exp(rng.uniform(*np.log(_SPEEDS)))) if rng.random() < 2 / 3 else 1.0
    angle = float(rng.uniform(-_ANGLE, _ANGLE)) if rng.random() < 2 / 3 else 0.0
    gains = tuple(rng.uniform(-_TILT_DB, _TILT_DB, len(_KNOTS_HZ))) if rng.random() < 2 / 3 else ()
    return Variation(speed, angle, gains)
