"""Every adapter against the base without it, and against the wrong adapter, on validation pairs of its own artifact.

    python benchmarks/adapters.py --pairs runs/pairs --adapters runs/lora --out docs/benchmarks

The gains are those of the whole repair (stage 1 and the vocoder) over the input, in dB of 1 + SI-SDR and of SDR with
a floor 30 dB below the stem, so that clean pairs count as well. It writes a table for the docs and a JSON file that
release scripts read.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import torch

from stemprover.restoration.lora import load_adapter, use_adapters
from stemprover.restoration.model import RestorationModel
from stemprover.restoration.weights import load_base
from stemprover.spectral.bands import to_bins
from stemprover.spectral.codec import decode, encode, from_image
from stemprover.spectral.phase import band_features
from stemprover.spectral.stft import stft
from stemprover.synthesis.base import VocoderInput
from stemprover.synthesis.embedded import EmbeddedVocoder, load_embedded
from stemprover.training.dataset import Batch, PairBatches
from stemprover.training.losses import error_ratio, scaled_error_ratio
from stemprover.training.restoration import condition_of

ADAPTERS = {
    "drumbleed": "bleed/drums",
    "vocalbleed": "bleed/vocals",
    "bleed": "bleed",
    "phasiness": "phasiness",
    "hfdistortion": "hf-distortion",
}


@dataclasses.dataclass(frozen=True)
class Figures:
    """Figures of one configuration on one set: mean gains in dB; shares whose SI-SDR rose, and fell by over 0.1 dB.

    ``si_sdr_gain_db`` is of 1 + SI-SDR: with a floor, so that clean stems count.
    """

    si_sdr_gain_db: float
    sdr_gain_db: float
    improved: float
    harmed: float


@torch.inference_mode()
def gains(model: RestorationModel, vocoder: EmbeddedVocoder, batch: Batch, artifact: str | None) -> torch.Tensor:
    """Gains in dB of SI-SDR and SDR of every item of a batch, shape ``[2, items]``."""
    stem, clean, siblings = stft(torch.stack([batch.degraded, batch.clean, batch.siblings])).unbind()
    features = band_features(stem, siblings)
    condition = condition_of(batch, stem, siblings, features, None, artifact)
    degraded = encode(condition.image)
    tokens = model.tokens(condition)
    sigma = torch.ones(degraded.shape[0])
    predicted = model.difference(degraded, sigma, tokens, model.residuals(condition, tokens))
    restored = from_image(decode(degraded + predicted).squeeze(1), features.level)
    repaired = vocoder.mix(VocoderInput(stem, siblings, features.magnitude, restored, batch.clean.shape[-1], features))
    estimate = stem + (repaired - stem) * to_bins(batch.region)
    ratios = [ratio(estimate, clean, stem) for ratio in (scaled_error_ratio, error_ratio)]
    return -10.0 * torch.stack(ratios)


def measure(model: RestorationModel, vocoder: EmbeddedVocoder, batches: list[Batch], artifact: str | None) -> Figures:
    """Figures over batches."""
    scaled, plain = torch.cat([gains(model, vocoder, batch, artifact) for batch in batches], dim=1)
    improved, harmed = (chosen.float().mean().item() for chosen in (scaled > 0, scaled < -0.1))
    return Figures(scaled.mean().item(), plain.mean().item(), improved, harmed)


def main() -> None:
    """Measure and write ``adapters.md`` and ``adapters.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--vocoder", type=Path, required=True)
    parser.add_argument("--adapters", type=Path, required=True, help="folder with one run folder per adapter")
    parser.add_argument("--batches", type=int, default=12, help="batches of eight per artifact")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    model, vocoder = load_base(chosen.base), load_embedded(chosen.vocoder)
    names = [name for name in ADAPTERS if (chosen.adapters / name / "final").is_dir()]
    for name in names:
        load_adapter(model, chosen.adapters / name / "final", name)
    rows: dict[str, dict[str, dict[str, float]]] = {}
    clean = PairBatches(chosen.pairs, "validation", 8, 99, keep=lambda pair: pair.sdr_db is None)
    clean_batches = [clean.batch(index) for index in range(max(2, chosen.batches // 3))]
    for place, name in enumerate(names):
        draw = PairBatches(
            chosen.pairs, "validation", 8, 77, artifact=ADAPTERS[name], keep=lambda pair: pair.sdr_db is not None
        )
        batches = [draw.batch(index) for index in range(chosen.batches)]
        wrong = names[(place + 2) % len(names)]
        use_adapters(model, {})
        rows[name] = {"base": dataclasses.asdict(measure(model, vocoder, batches, ADAPTERS[name]))}
        use_adapters(model, {name: 1.0})
        rows[name]["adapter"] = dataclasses.asdict(measure(model, vocoder, batches, ADAPTERS[name]))
        rows[name]["clean"] = dataclasses.asdict(measure(model, vocoder, clean_batches, ADAPTERS[name]))
        use_adapters(model, {wrong: 1.0})
        rows[name][f"wrong ({wrong})"] = dataclasses.asdict(measure(model, vocoder, batches, ADAPTERS[name]))
        print(name, json.dumps(rows[name]), flush=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "adapters.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    (chosen.out / "adapters.md").write_text(_page(rows, chosen.batches * 8), encoding="utf-8")


def _page(rows: dict[str, dict[str, dict[str, float]]], count: int) -> str:
    """The Markdown page."""
    lines = [
        "# Adapters",
        "",
        f"Validation pairs with each adapter's artifact ({count} draws of 3 s, one channel, a quarter of them blind),",
        "one sampling step, embedded vocoder, no gate. Mean gains of 1 + SI-SDR and of SDR over the input, with a",
        "floor 30 dB below the stem. *Improved* and *worse* count SI-SDR; *clean* is the adapter on clean stems",
        "(harm). Written by `benchmarks/adapters.py`.",
        "",
        "| adapter | configuration | SI-SDR (dB) | SDR (dB) | improved | worse by > 0.1 dB |",
        "|---|---|---|---|---|---|",
    ]
    for name, configurations in rows.items():
        for label, f in configurations.items():
            cells = f"{f['si_sdr_gain_db']:+.2f} | {f['sdr_gain_db']:+.2f} | {f['improved']:.0%} | {f['harmed']:.0%}"
            lines.append(f"| {name} | {label} | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
