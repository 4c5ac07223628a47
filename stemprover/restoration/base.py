"""The protocol of segment preprocessors: what the networks see of a segment."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Preprocessor"]


@runtime_checkable
class Preprocessor(Protocol):
    """What a plugin's ``preprocessors`` hook builds.

    It changes the view, not the file: the networks repair the changed audio, and what they add to it is added to the
    untouched input. So it may take away what only misleads them (an offset, rumble), and cannot damage anything.
    """

    def process(self, audio: Tensor) -> Tensor:
        """Return what the networks shall see.

        Parameters
        ----------
        audio : Tensor
            A segment with its context, or that of its siblings: float32 at 44.1 kHz, shape ``[channels, samples]``,
            not to be changed in place.

        Returns
        -------
        Tensor
            The same shape and type, finite, aligned to the sample; ``audio`` itself where there is nothing to do.
        """
        ...
