"""Look into adapter folders without using them: would they load onto the embedded base?"""

from __future__ import annotations

import functools
from pathlib import Path

from stemprover.restoration.lora_checks import check_fit, expected_shapes
from stemprover.restoration.lora_file import read_adapter
from stemprover.restoration.model import RestorationModel

__all__ = ["inspect_adapter"]


def inspect_adapter(folder: Path) -> None:
    """Check an adapter's files, then that its shapes are those of the base, then that its weights are finite.

    Weights are read last: a file that claims absurd shapes is refused before memory is given to it.

    Raises
    ------
    AdapterError
        As :func:`stemprover.restoration.lora.load_adapter` would.
    """
    file = read_adapter(folder)
    check_fit(file, expected_shapes(_base(), file.spec))
    file.tensors()


@functools.cache
def _base() -> RestorationModel:
    from stemprover.restoration.weights import load_base

    return load_base()
