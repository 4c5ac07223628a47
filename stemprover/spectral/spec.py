"""The spectral spec: every number that ties weights to the signal representation."""

from __future__ import annotations

import dataclasses
import hashlib
import json

__all__ = ["SPEC", "SpectralSpec"]


@dataclasses.dataclass(frozen=True, slots=True)
class SpectralSpec:
    """What a spectrogram image is made of; weights are valid for exactly one spec.

    Attributes
    ----------
    sample_rate : int
        Internal rate in Hz.
    n_fft, hop : int
        STFT frame length and hop in samples (periodic Hann window).
    n_bands : int
        Height of the image: perceptual bands, one bin wide at low frequencies, geometric above.
    exponent : float
        Power-law compression of magnitudes, ``|X| ** exponent``.
    image_shift, image_scale : float
        Latents are ``(image - image_shift) * image_scale``: about zero mean and unit variance.
    patch : int
        Side of the space-to-depth patches that take the VAE's place.
    cell_frames, cell_bands : int
        Size of one detection cell in STFT frames and image bands.
    """

    sample_rate: int = 44_100
    n_fft: int = 2048
    hop: int = 512
    n_bands: int = 256
    exponent: float = 0.3
    image_shift: float = 0.25
    image_scale: float = 5.0
    patch: int = 4
    cell_frames: int = 32
    cell_bands: int = 16

    @property
    def n_bins(self) -> int:
        """Number of STFT bins, ``n_fft // 2 + 1``."""
        return self.n_fft // 2 + 1

    @property
    def n_cell_bands(self) -> int:
        """Number of detection bands."""
        return self.n_bands // self.cell_bands

    @property
    def frame_rate(self) -> float:
        """STFT frames per second."""
        return self.sample_rate / self.hop

    def digest(self) -> str:
        """Return ``sha256:<hex>`` of the canonical JSON of all fields, as manifests hold it."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


SPEC = SpectralSpec()
