"""A detector that flags all of a stem, so that every segment is repaired: the worst case for speed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stemprover import __version__
from stemprover.detection import AnalysisBlock, CellScores, n_cells
from stemprover.plugins import Manifest, Plugin
from stemprover.spectral.spec import SPEC

__all__ = ["ARTIFACT", "PLUGIN", "FlagEverything"]

ARTIFACT = "bleed/drums"


class FlagEverything:
    """Answers the same for every cell; see :class:`stemprover.detection.types.Detector`."""

    def __init__(self, artifact: str = ARTIFACT) -> None:
        self.artifacts = (artifact,)

    def score(self, block: AnalysisBlock) -> Mapping[str, CellScores]:
        """Return probability 1 and severity 0.5 everywhere."""
        shape = (n_cells(block.audio.shape[-1]), SPEC.n_cell_bands)
        return {self.artifacts[0]: CellScores(np.ones(shape, np.float32), np.full(shape, 0.5, np.float32))}


PLUGIN = Plugin(
    name="everything",
    kind="detector",
    version=__version__,
    status="ok",
    reason="",
    artifacts=(ARTIFACT,),
    stems=(),
    distribution="benchmarks",
    license="Apache-2.0",
    summary="Flags all of a stem",
    manifest=Manifest(
        name="everything",
        kind="detector",
        summary="Flags all of a stem",
        license="Apache-2.0",
        host=f"=={__version__}",
        artifacts=(ARTIFACT,),
        entry="everything:FlagEverything",
    ),
)
"""As discovery would describe it if it were installed; handed to ``Enhancer`` beside the installed plugins."""
