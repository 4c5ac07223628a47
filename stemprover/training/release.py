"""Put trained weights in their places, with a card that says where they come from.

    python -m stemprover.training.release --base runs/base --vocoder runs/vocoder --gate runs/gate \
        --separator runs/light --opinion runs/judge --opinion-arbiter runs/arbiter --opinion-gate runs/opinion_gate \
        --opinion-kit runs/kit_judge --opinion-kit-arbiter runs/kit_arbiter --opinion-kit-gate runs/opinion_kit_gate \
        --adapters runs/lora --figures docs/benchmarks/adapters.json
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stemprover.errors import TrainingError
from stemprover.plugins import pack_adapter

__all__ = ["release_adapter", "release_models"]

_ROOT = Path(__file__).parent.parent
_PLUGINS = _ROOT.parent / "plugins"
_MODELS = (
    "base", "vocoder", "gate", "separator",
    "opinion", "opinion_arbiter", "opinion_gate", "opinion_kit", "opinion_kit_arbiter", "opinion_kit_gate",
)  # fmt: skip


def release_models(runs: Mapping[str, Path], weights: Path = _ROOT / "weights") -> None:
    """Replace embedded weights (names as in ``weights/``) by those of runs, and the card's rows.

    A gate is trained on repairs by the embedded base and vocoder, so those are released before it is trained.

    Raises
    ------
    TrainingError
        If a run has not been finished; nothing was replaced then.
    """
    for run in runs.values():
        if not (run / "final").is_dir():
            raise TrainingError(f"a finished run in {run}", "no final folder", "let `stemprover train` end")
    for name, run in runs.items():
        shutil.rmtree(weights / name, ignore_errors=True)
        shutil.copytree(run / "final", weights / name)
    card = weights / "README.md"
    known = _rows(card.read_text(encoding="utf-8")) if card.is_file() else {}
    card.write_text(_card(known | {name: _measured(name, run) for name, run in runs.items()}), encoding="utf-8")


def release_adapter(run: Path, name: str, metrics: Mapping[str, float | str], plugins: Path = _PLUGINS) -> None:
    """Pack an adapter run into its plugin package with what was measured of it."""
    package = plugins / f"stemprover-lora-{name}" / f"stemprover_lora_{name}"
    pack_adapter(run / "final", package, metrics=metrics)


def _metrics(figures: Path) -> dict[str, dict[str, float | str]]:
    """Metrics for manifests, by adapter, from the file that ``benchmarks/adapters.py`` writes."""
    try:
        measured = json.loads(figures.read_text(encoding="utf-8"))
        return {
            name: {
                "benchmark": "validation-v2",
                "si_sdr_gain_db": round(each["adapter"]["si_sdr_gain_db"], 3),
                "base_gain_db": round(each["base"]["si_sdr_gain_db"], 3),
                "clean_harm_db": round(-each["clean"]["si_sdr_gain_db"], 3),
                "improved_share": round(each["adapter"]["improved"], 3),
            }
            for name, each in measured.items()
        }
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            "figures of benchmarks/adapters.py", repr(error), "run it again on these adapters"
        ) from error


def _validation(run: Path) -> tuple[int, dict[str, Any]]:
    """Last validation figures of a run."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    last = [row for row in rows if any(key.startswith("val/") for key in row)][-1]
    return int(last["step"]), {key[4:]: value for key, value in last.items() if key.startswith("val/")}


def _rows(card: str) -> dict[str, list[str]]:
    """Rows of a card by model."""
    rows: dict[str, list[str]] = {}
    for line in card.splitlines():
        name = line.split("|")[1].strip() if line.startswith("| ") else ""
        if name in _MODELS:
            rows.setdefault(name, []).append(line)
    return rows


def _measured(name: str, run: Path) -> list[str]:
    step, figures = _validation(run)
    return [f"| {name} | {step} | {key} | {value:.4f} |" for key, value in figures.items()]


def _card(rows: Mapping[str, Sequence[str]]) -> str:
    lines = [
        "# Embedded weights",
        "",
        "The base (UNet, ControlNet, conditioner; a diffusers folder), the shared vocoder, the gate that says how much",
        "of their repairs to apply, the light separator (a mask U-Net), the networks of second opinions on songs (a",
        "TFC-TDF U-Net) and on the pieces of drum kits (a mask U-Net), and a gate for each of the two; all but the",
        "gates in half precision. Trained with the recipes in `stemprover/training/recipes` on material described in",
        "`docs/training.md`; all but the separators on pairs made by `stemprover data pairs`. Licence: Apache-2.0.",
        "",
        "| model | steps | figure (validation split, one sampling step) | value |",
        "|---|---|---|---|",
    ]
    for name in _MODELS:
        lines += rows.get(name, [])
    lines += [
        "",
        "`gain_db` is SDR gain with a floor 30 dB below the stem, `si_gain_db` that of 1 + SI-SDR (of the second",
        "opinions' gates: of SI-SDR from -20 dB upwards); `harmed` is the share of segments made worse by more than",
        "0.1 dB; `image_change` the relative change of the band-magnitude error. Of the gates, `half_` and `whole_`",
        "are figures of applying half and all of every repair instead; their `harmed` counts SI-SDR. Of the",
        "separators, `sdr_db_...` is the SDR of their stems on random mixtures.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Release whatever runs are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in _MODELS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path)
    parser.add_argument("--adapters", type=Path)
    parser.add_argument("--figures", type=Path)
    chosen = parser.parse_args()
    if (chosen.adapters is None) != (chosen.figures is None):
        parser.error("--adapters and --figures go together: adapters are released with what was measured of them")
    metrics = {} if chosen.figures is None else _metrics(chosen.figures)
    runs = {name: getattr(chosen, name) for name in _MODELS if getattr(chosen, name) is not None}
    if runs:
        release_models(runs)
    for name, measured in metrics.items():
        release_adapter(chosen.adapters / name, name, measured)


if __name__ == "__main__":
    main()
