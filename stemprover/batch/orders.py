"""What a run does with each of its jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stemprover.batch.fingerprint import reference_versions
from stemprover.batch.jobs import Job
from stemprover.batch.records import Keeping
from stemprover.enhance import Enhancer
from stemprover.enhanced import Settings

__all__ = ["Loader", "Order"]


@dataclasses.dataclass(frozen=True, slots=True)
class Loader:
    """Makes enhancers, see :meth:`~stemprover.enhance.Enhancer.from_pretrained`; can be sent to other machines."""

    base: str | None = None
    dtype: str = "float32"
    safe_mode: bool = False

    def everywhere(self) -> Loader:
        """Return a loader whose base, if it is a folder, means the same in every working folder."""
        return dataclasses.replace(self, base=self.base and _folder_everywhere(self.base))

    def __call__(self, device: str) -> Enhancer:
        """Make one."""
        return Enhancer.from_pretrained(self.base, device=device, dtype=self.dtype, safe_mode=self.safe_mode)


@dataclasses.dataclass(frozen=True)
class Order:
    """What to do with every job of a run.

    Attributes
    ----------
    settings : Settings
        How stems are repaired.
    new_enhancer : callable
        Makes an enhancer for a device; called once per worker, wherever that runs. See :class:`Loader`.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    run : str
        Identity of the run.
    weights : str
        See :func:`~stemprover.batch.fingerprint.weights_fingerprint`; empty when states are not recorded.
    reference : Path or None
        True stem, or folder of them: reports get metrics.
    align : bool
        Shift stems that are late against the mixture.
    plan_only, overwrite, resume, record : bool
        Write no audio; replace what is there; leave out what is done; keep a state for each output.
    """

    settings: Settings
    new_enhancer: Callable[[str], Enhancer]
    device: str = "auto"
    run: str = ""
    weights: str = ""
    reference: Path | None = None
    align: bool = False
    plan_only: bool = False
    overwrite: bool = False
    resume: bool = False
    record: bool = False

    @property
    def keeping(self) -> Keeping:
        """How the run treats what is there already."""
        return Keeping(self.run, self.record, self.resume, self.overwrite)

    def terms(self, job: Job) -> dict[str, Any]:
        """Return what results depend on besides the inputs, however the files it needs are named."""
        name, _, option = self.settings.vocoder.partition(":")
        # What a folder holds is among the weights; where it lies is told differently to workers elsewhere.
        vocoder = name if option and Path(option).is_dir() else self.settings.vocoder
        return {
            "settings": {**dataclasses.asdict(self.settings), "vocoder": vocoder},
            "weights": self.weights,
            "reference": reference_versions(self.reference, job.stems),
            "align": self.align,
        }

    def everywhere(self) -> Order:
        """Return the order with local files that mean the same in every working folder, for workers elsewhere."""
        name, colon, option = self.settings.vocoder.partition(":")
        settings = dataclasses.replace(self.settings, vocoder=f"{name}{colon}{_folder_everywhere(option)}")
        loader = self.new_enhancer.everywhere() if isinstance(self.new_enhancer, Loader) else self.new_enhancer
        reference = None if self.reference is None else self.reference.absolute()
        return dataclasses.replace(self, settings=settings, new_enhancer=loader, reference=reference)


def _folder_everywhere(name: str) -> str:
    """A folder's absolute path; ids of a hub and empty names are no folders."""
    return str(Path(name).absolute()) if name and Path(name).exists() else name
