"""What it costs to switch adapters: loading, swapping, stacking, fusing, and a forward with each.

    python benchmarks/hotswap.py --out docs/benchmarks

Figures are CPU time of one thread, the least of several repetitions: they do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from environment import describe, environment, today, weights_of
from peft import LoraConfig

from stemprover.plugins import base_identity
from stemprover.restoration import lora
from stemprover.restoration.model import RestorationModel
from stemprover.restoration.weights import load_base, load_pipeline

RANKS = (4, 8, 16)


def cpu_ms(call: Callable[[], object], repeats: int) -> float:
    """Least CPU time of a call in milliseconds."""
    spent = []
    for _ in range(repeats):
        begin = time.process_time()
        call()
        spent.append(time.process_time() - begin)
    return 1000.0 * min(spent)


def write_adapters(folder: Path) -> dict[str, Path]:
    """Write one adapter per rank, with random weights; what they do to sound does not matter here."""
    model, made = load_base(), {}
    for rank in RANKS:
        lora.inject(model, "new", LoraConfig(r=rank, lora_alpha=rank, target_modules=lora.default_targets(model)))
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.data.normal_(0.0, 0.01)
        lora.save_adapter(model, folder / f"rank{rank}", "new", {"base_sha256": base_identity().sha256})
        lora.remove_adapter(model, "new")
        made[f"rank{rank}"] = folder / f"rank{rank}"
    return made


def forward(model: RestorationModel) -> Callable[[], object]:
    """Return one UNet call on a segment of a stereo stem."""
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 16, 64, 64, generator=generator)
    tokens = torch.randn(2, 3, model.unet.config.cross_attention_dim, generator=generator)
    return lambda: model.difference(sample, torch.ones(2), tokens, None)


@torch.inference_mode()
def measure(adapters: Mapping[str, Path], repeats: int) -> dict[str, float]:
    """Return milliseconds by what was done."""
    first, second, third = adapters
    with torch.inference_mode(False):  # adapters need plain parameters
        rows = {"load the base, libraries imported": cpu_ms(lambda: load_pipeline(), 3)}
        model = load_base()
        begin = time.process_time()
        lora.load_adapter(model, adapters[first], first)
        rows["load the first adapter"] = 1000.0 * (time.process_time() - begin)
        for name in (second, third):
            begin = time.process_time()
            lora.load_adapter(model, adapters[name], name)
            rows[f"load another adapter ({name})"] = 1000.0 * (time.process_time() - begin)
    turn = iter(range(10**6))
    names = (first, second)
    rows["swap, stacked"] = cpu_ms(lambda: lora.use_adapters(model, {names[next(turn) % 2]: 1.0}), repeats)

    def swap() -> None:
        lora.unmerge(model, lora.merge(model, {names[next(turn) % 2]: 1.0}))

    rows["swap, fused"] = cpu_ms(swap, repeats)
    rows["swap three at once, fused"] = cpu_ms(
        lambda: lora.unmerge(model, lora.merge(model, {first: 1.0, second: 0.5, third: 0.2})), repeats
    )
    call = forward(model)
    lora.use_adapters(model, {})
    rows["forward, no adapter"] = cpu_ms(call, 5)
    for scales in ({first: 1.0}, {first: 1.0, second: 0.5, third: 0.2}):
        lora.use_adapters(model, scales)
        rows[f"forward, {len(scales)} stacked"] = cpu_ms(call, 5)
        fused = lora.merge(model, scales)
        rows[f"forward, {len(scales)} fused"] = cpu_ms(call, 5)
        lora.unmerge(model, fused)
    return rows


def main() -> None:
    """Measure and write ``hotswap.md`` and ``hotswap.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=20)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(write_adapters(Path(folder)), chosen.repeats)
    facts = environment()
    chosen.out.mkdir(parents=True, exist_ok=True)
    page = [
        "# Switching adapters",
        "",
        "Milliseconds of CPU time of one thread, the least of several repetitions, on the embedded base; a forward is",
        "one UNet call for a stereo segment. *Stacked*: each adapter beside the weights; *fused*: put into them, and",
        "taken out again by putting the originals back. The host fuses what a batch needs.",
        "",
        "Written by `benchmarks/hotswap.py`.",
        "",
        "| what | ms |",
        "|---|---:|",
        *(f"| {what} | {value:.1f} |" for what, value in rows.items()),
        "",
        describe(facts, weights_of(), today()).rstrip(),
    ]
    (chosen.out / "hotswap.md").write_text("\n".join(page) + "\n", encoding="utf-8")
    record = {"date": today(), "environment": facts, "cpu_ms": rows}
    (chosen.out / "hotswap.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
