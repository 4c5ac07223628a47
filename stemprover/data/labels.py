"""Labels: how strong each artifact is in each cell of the detection grid, from the error signals that made it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from stemprover.spectral.bands import cell_band_edges_hz, to_bands
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import stft

__all__ = ["BLEED_NAMES", "DISTORTION", "RESIDUAL", "cell_energy", "cell_labels", "sdr_db", "severity_of"]

DISTORTION = "distortion"  # an error of the stem itself: phasiness below, hf-distortion above the split frequency
BLEED_NAMES: Mapping[str, str] = {
    **{name: f"bleed/{name}" for name in ("drums", "vocals", "bass", "other")},
    **dict.fromkeys(("kick", "snare", "toms", "hihat", "cymbals"), "bleed/drums"),
    **dict.fromkeys(("piano", "guitar", "instrumental", "generic"), "bleed/other"),
}
RESIDUAL = "residual"  # what no mask explains in a real separator's output, counted as distortion where it can be
_FULL_SCALE_DB = 30.0
_FLOOR = 1e-6  # errors 60 dB below the loudest cell of the stem are not labelled
_DOMINANT = 0.25  # a source is named where it holds at least a quarter of the strongest source's energy
_MOST_LOST = 4.0  # energy ratio; a complex mask of gain one at opposite phase gives four
_HF_SPLIT_HZ = 6000.0


def severity_of(sdr: np.ndarray | float) -> np.ndarray:
    """Map a signal-to-distortion ratio in dB to severity: 30 dB and above is 0, 0 dB and below is 1."""
    return np.clip(1.0 - np.asarray(sdr) / _FULL_SCALE_DB, 0.0, 1.0).astype(np.float32)


def sdr_db(clean: np.ndarray, artifact: np.ndarray) -> float | None:
    """Signal-to-distortion ratio in dB; None where the two are equal."""
    error = float(np.sum(np.square(artifact - clean, dtype=np.float64)))
    signal = float(np.sum(np.square(clean, dtype=np.float64)))
    return 10.0 * float(np.log10(max(signal, 1e-20) / error)) if error > 0 else None


def cell_energy(audio: np.ndarray) -> np.ndarray:
    """Energy per cell: ``[channels, samples] -> [cells, n_cell_bands]``; the last cell may be partly filled."""
    power = stft(torch.from_numpy(np.ascontiguousarray(audio, np.float32))).abs().square().sum(0)
    bands = to_bands(power).numpy()
    bands = np.pad(bands, ((0, 0), (0, -bands.shape[1] % SPEC.cell_frames)))
    grid = bands.reshape(SPEC.n_cell_bands, SPEC.cell_bands, -1, SPEC.cell_frames)
    return np.ascontiguousarray(grid.sum((1, 3)).T)


def cell_labels(clean: np.ndarray, errors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Severity per artifact and cell.

    Parameters
    ----------
    clean : ndarray
        The stem, ``[channels, samples]``.
    errors : Mapping[str, ndarray]
        What was added to the stem, by cause: artifact names, or ``distortion`` and ``residual`` for errors of the
        stem itself, which are phasiness below 6 kHz and hf-distortion above.

    Returns
    -------
    dict[str, ndarray]
        Float32 ``[cells, n_cell_bands]`` for each artifact that occurs; ``bleed`` is the sum of its sources.
    """
    signal = cell_energy(clean)
    high = cell_band_edges_hz()[:-1] >= _HF_SPLIT_HZ
    energies: dict[str, np.ndarray] = {}
    for cause, error in errors.items():
        energy = cell_energy(error)
        if cause == RESIDUAL:  # a stem cannot lose more than it holds: the excess is noise of unknown origin
            energy = np.where(energy <= _MOST_LOST * signal, energy, np.float32(0))
        own = cause in (DISTORTION, RESIDUAL)
        shares = {"phasiness": energy * ~high, "hf-distortion": energy * high} if own else {cause: energy}
        for name, share in shares.items():
            energies[name] = energies.get(name, np.float32(0)) + share
    sources = {name: energy for name, energy in energies.items() if name.startswith("bleed/")}
    if sources:
        strongest = np.max(list(sources.values()), axis=0)
        energies["bleed"] = np.sum(list(sources.values()), axis=0)
        energies.update({name: np.where(e >= _DOMINANT * strongest, e, 0) for name, e in sources.items()})
    labels = {name: _severity(signal, energy) for name, energy in energies.items()}
    return {name: severity for name, severity in labels.items() if severity.any()}


def _severity(signal: np.ndarray, error: np.ndarray) -> np.ndarray:
    tiny = 1e-20
    severity = severity_of(10 * np.log10((signal + tiny) / (error + tiny)))
    return np.where(error > _FLOOR * signal.max(), severity, np.float32(0))
