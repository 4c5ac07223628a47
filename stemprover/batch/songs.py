"""Songs to stems, and songs to clean stems.

Each of the two is a job of its own, claimed and recorded as those of ``enhance`` are: what a killed run left is done
again, what it had finished is not, and stems that were separated before only need to be repaired.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from stemprover.batch.claims import claimed
from stemprover.batch.fingerprint import separator_fingerprint, weights_fingerprint
from stemprover.batch.jobs import Job, Source, Target
from stemprover.batch.records import Keeping, Record
from stemprover.batch.reports import write_reports
from stemprover.batch.staging import LocalFiles
from stemprover.enhance import Enhanced, Enhancer, Settings
from stemprover.errors import AudioError, OptionError
from stemprover.progress import Progress
from stemprover.separation.base import HostedSeparator, Separator
from stemprover.separation.songs import separate_song
from stemprover.stems import StemSet

__all__ = ["Cleaning", "Separation", "SongJob"]

ResultT = TypeVar("ResultT")


@dataclasses.dataclass(frozen=True, slots=True)
class SongJob:
    """One song, and where its stems go.

    Attributes
    ----------
    song : Path
    separated : Mapping[str, Path]
        A file per stem, as the separator makes it.
    targets : Mapping[str, Target]
        The clean stems with their reports; empty when the song is only separated.
    """

    song: Path
    separated: Mapping[str, Path]
    targets: Mapping[str, Target]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of this song."""
        return (*self.separated.values(), *(Path(file) for target in self.targets.values() for file in target.files))

    @property
    def separation(self) -> Job:
        """Taking it apart."""
        targets = tuple(Target(str(path), {}) for path in self.separated.values())
        return Job(Source(str(self.song)), (str(self.song),), targets)

    @property
    def cleaning(self) -> Job:
        """The way from the song to its clean stems."""
        return Job(Source(str(self.song)), (str(self.song),), tuple(self.targets.values()))


class Separation:
    """Takes songs apart.

    Parameters
    ----------
    separator : HostedSeparator
    device : torch.device
    keeping : Keeping
    """

    def __init__(self, separator: HostedSeparator, device: torch.device, keeping: Keeping) -> None:
        self.separator, self.keeping = separator, keeping
        self._device = device
        self.terms = {"separator": separator_fingerprint(separator)}

    def over(self, job: SongJob, progress: Progress) -> bool:
        """Separate one song; returns False if an earlier run had done it.

        Raises
        ------
        StemProverError
            The song cannot be used, or an output cannot be written.
        """

        def separate(overwrite: bool) -> tuple[bool, bool]:
            separate_song(job.song, self.separator, job.separated, device=self._device, overwrite=overwrite,
                          progress=progress)  # fmt: skip
            return True, True

        return _once(job.separation, self.keeping, self.terms, separate) or False


class Cleaning:
    """Takes songs apart and repairs their stems together, each seeing the others and the song.

    Parameters
    ----------
    separation : Separation
    enhancer : Enhancer
    settings : Settings

    Raises
    ------
    StemProverError
        Settings are bad, do not suit the separator, or networks or detectors cannot be loaded: what would fail after
        every separation fails here.
    """

    def __init__(self, separation: Separation, enhancer: Enhancer, settings: Settings) -> None:
        _check(separation.separator, enhancer, settings)
        self._separation, self._enhancer, self._settings = separation, enhancer, settings
        weights = weights_fingerprint(enhancer, settings)
        self._terms = {**separation.terms, "settings": dataclasses.asdict(settings), "weights": weights}

    def over(self, job: SongJob, progress: Progress) -> tuple[Enhanced, ...] | None:
        """Separate one song, repair its stems and write their reports; returns None if an earlier run had done it.

        Raises
        ------
        StemProverError
            The song cannot be used, or an output cannot be written.
        """

        def clean(overwrite: bool) -> tuple[tuple[Enhanced, ...], bool]:
            self._separation.over(job, progress)
            with StemSet.open(list(job.separated.values()), mixture=job.song) as stems:
                results = self._enhancer.enhance_set(
                    stems,
                    self._settings,
                    outputs=[Path(target.audio) for target in job.targets.values()],
                    overwrite=overwrite,
                    progress=progress,
                )
                for enhanced, target in zip(results, job.targets.values(), strict=True):
                    write_reports(enhanced, {kind: Path(place) for kind, place in target.reports.items()})
            return results, not any(enhanced.to_dict()["faults"] for enhanced in results)

        return _once(job.cleaning, self._separation.keeping, self._terms, clean)


def _once(
    job: Job, keeping: Keeping, terms: Mapping[str, Any], work: Callable[[bool], tuple[ResultT, bool]]
) -> ResultT | None:
    """Claim a job and do it unless it is done.

    Parameters
    ----------
    job : Job
    keeping : Keeping
    terms : Mapping
        See :class:`~stemprover.batch.records.Record`.
    work : callable
        Is told whether outputs may be replaced; returns the result, and whether no later run could do better.
    """
    with contextlib.ExitStack() as stack:
        local = LocalFiles(stack)
        song = Path(job.source.place)
        if not song.is_file():
            raise AudioError("a song", f"nothing at '{song}'", "check the path")
        stack.enter_context(claimed([target.audio for target in job.targets], keeping.run))
        record = Record(job, keeping, terms, local)
        if record.is_done:
            return None
        with record.kept_if_nothing_happens():
            result, is_final = work(record.begin())
        if is_final:
            record.finish({place: Path(place) for target in job.targets for place in target.files})
    return result


def _check(separator: Separator, enhancer: Enhancer, settings: Settings) -> None:
    settings.check()
    if settings.mixture_consistent and len(separator.stems) < 2:
        got = f"{separator.name}, which makes {', '.join(separator.stems)} only"
        raise OptionError("a separator of several stems for --mixture-consistent", got, "leave it out")
    enhancer.load_detectors()
    enhancer.models.vocoder(settings.vocoder, enhancer.plugins, enhancer.runner)
    _ = enhancer.models.pipeline  # loaded when it is asked for
