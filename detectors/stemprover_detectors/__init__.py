"""StemProver's own detectors, as a plugin: bleed by source, phasiness and high-frequency distortion."""

from __future__ import annotations

from stemprover_detectors.detector import ArtifactDetector, detector

__all__ = ["ArtifactDetector", "detector"]
