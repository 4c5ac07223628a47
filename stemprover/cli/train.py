"""``stemprover train``: one command per model."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from stemprover.cli.process import prepare_process

__all__ = ["train"]

_folder = click.Path(file_okay=False, path_type=Path)
_NUMBERS = "stemprover.recipe"
_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group()
def train() -> None:
    """Train models from a pairs folder; interrupted runs go on where they stopped."""


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Collect a number that overrides the recipe's."""
    context.meta.setdefault(_NUMBERS, {})[parameter.name] = value


def _number(flag: str, kind: click.ParamType[Any], text: str = "") -> Callable[[_Command], _Command]:
    return click.option(flag, type=kind, help=text, expose_value=False, callback=_keep)


def _running(command: _Command) -> _Command:
    """Options of every training but the detectors'."""
    options = (
        click.option("--out", type=_folder, required=True, help="Run folder: checkpoint, logs, final/."),
        click.option("--recipe", type=click.Path(dir_okay=False, path_type=Path), help="YAML file with the numbers."),
        _number("--steps", click.IntRange(1), "Overrides the recipe, as do the five options below."),
        _number("--batch-size", click.IntRange(1)),
        _number("--learning-rate", click.FLOAT),
        _number("--precision", click.Choice(("no", "bf16", "fp16"))),
        _number("--seed", click.INT),
        _number("--workers", click.IntRange(0), "Processes that draw batches ahead, for training on a GPU."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _shared(command: _Command) -> _Command:
    """Options of trainings on pairs."""
    text = "Pairs folder made with `stemprover data pairs`."
    return click.option("--pairs", type=_folder, required=True, help=text)(_running(command))


_base = click.option("--base", type=_folder, help="Base model's folder; the embedded one by default.")


@train.command()
@_shared
@click.option("--start", type=_folder, help="Go on from this base's folder.")
def base(pairs: Path, out: Path, recipe: Path | None, start: Path | None) -> None:
    """Train UNet, ControlNet and conditioner together."""
    from stemprover.training.runs import train_base

    with _training("base", recipe) as run:
        run.wrote(train_base(pairs, out, start, run.recipe, run.log, run.numbers))


@train.command()
@_shared
@_base
def controlnet(pairs: Path, out: Path, recipe: Path | None, base: Path | None) -> None:
    """Train the ControlNet further with the UNet frozen."""
    from stemprover.training.runs import train_controlnet

    with _training("controlnet", recipe) as run:
        run.wrote(train_controlnet(pairs, out, _base_folder(base), run.recipe, run.log, run.numbers))


@train.command()
@_shared
@_base
@click.option("--artifact", required=True, help="What the adapter repairs, for example bleed/drums.")
@click.option("--rank", type=click.IntRange(1), help="8 if nothing is said.")
@click.option("--alpha", type=float, help="The update is scaled by alpha / rank; 8 if nothing is said.")
@click.option("--start", type=_folder, help="Go on from this adapter's folder, with its rank and alpha.")
def lora(
    pairs: Path,
    out: Path,
    recipe: Path | None,
    base: Path | None,
    artifact: str,
    rank: int | None,
    alpha: float | None,
    start: Path | None,
) -> None:
    """Train one adapter for one artifact."""
    from stemprover.training.runs import train_lora

    folder = _base_folder(base)
    with _training("lora", recipe) as run:
        run.wrote(train_lora(pairs, out, folder, artifact, rank, alpha, start, run.recipe, run.log, run.numbers))


@train.command()
@_shared
@click.option("--vocoder", "name", type=click.Choice(("embedded", "hifigan")), default="embedded", show_default=True)
@click.option("--base", type=_folder, help="Train on this base's output instead of simulated magnitudes (embedded).")
@click.option("--start", help="Go on from this vocoder's folder; hifigan needs one, or a hub repository.")
def vocoder(pairs: Path, out: Path, recipe: Path | None, name: str, base: Path | None, start: str | None) -> None:
    """Train the embedded vocoder, or fine-tune HiFi-GAN on clean stems (a pairs folder's, or audio files)."""
    with _training("vocoder" if name == "embedded" else name, recipe) as run:
        if name == "embedded":
            from stemprover.training.runs import train_vocoder

            folder = None if start is None else Path(start)
            run.wrote(train_vocoder(pairs, out, base, folder, run.recipe, run.log, run.numbers))
        else:
            from stemprover.training.hifigan import train_hifigan

            run.wrote(train_hifigan(pairs, out, start or "", run.recipe, run.log, run.numbers))


@train.command()
@_shared
@click.option("--count", type=click.IntRange(1), default=1800, show_default=True, help="Training pairs to repair.")
@click.option("--harm", type=float, default=28.0, show_default=True, help="Cost in dB of making a segment worse.")
@click.option("--opinions", type=_folder, help="Train it on second opinions by these separators instead of repairs.")
@click.option("--arbiters", type=_folder, help="Opinions as these arbiters settle them.")
@click.option("--alone", is_flag=True, help="Opinions on stems that come alone.")
@click.option(
    "--doubt",
    type=click.FloatRange(0.0),
    default=1.5,
    show_default=True,
    help="Taken off for disagreement, in standard deviations.",
)
def gate(
    pairs: Path, out: Path, recipe: Path | None, count: int, harm: float, opinions: Path | None,
    arbiters: Path | None, alone: bool, doubt: float,
) -> None:  # fmt: skip
    """Train the gate that says how much of a repair to apply, on repairs by what is installed."""
    from stemprover.training.runs import train_gate

    with _training("gate", recipe) as run:
        options = (harm, run.recipe, opinions, arbiters, doubt, run.log, run.numbers)
        run.wrote(train_gate(pairs, out, count, *options, alone=alone))


@train.command()
@_running
@click.option(
    "--architecture", type=click.Choice(("mask-unet", "open-unmix", "tfc-tdf", "waveform-unet")), required=True
)
@click.option("--data", type=_folder, multiple=True, required=True, help="Folder of recordings; repeatable.")
@click.option("--kit", is_flag=True, help="Take drum kits apart (kick, snare, toms, hi-hat, cymbals), not songs.")
@click.option(
    "--without", multiple=True, metavar="NAME", help="Leave out this song, kit or solo (or `*` pattern); repeatable."
)
@click.option("--cache", type=_folder, help="Where decoded recordings are kept; OUT/cache by default.")
def separator(
    out: Path, recipe: Path | None, architecture: str, data: tuple[Path, ...], kit: bool, without: tuple[str, ...],
    cache: Path | None,
) -> None:  # fmt: skip
    """Train a small separator on random mixtures: for pairs with real artifacts, or to be used."""
    from stemprover.separation.layout import KIT_STEMS, STEMS
    from stemprover.training.runs import train_separator

    stems = KIT_STEMS if kit else STEMS
    with _training("separator", recipe) as run:
        run.wrote(train_separator(architecture, data, out, without, cache, run.recipe, run.log, run.numbers, stems))


@train.command()
@_shared
@click.option("--opinions", type=_folder, required=True, help="Separators, each asked about music it never heard.")
@click.option(
    "--without", multiple=True, metavar="NAME", help="Leave out pairs with this music (or `*` pattern); repeatable."
)
@click.option("--kept", type=_folder, help="Where what is known of answers is kept; OUT/answers by default.")
@click.option("--alone", is_flag=True, help="For stems that come alone: separators hear the stems themselves.")
def arbiter(
    pairs: Path, out: Path, recipe: Path | None, opinions: Path, without: tuple[str, ...], kept: Path | None,
    alone: bool,
) -> None:  # fmt: skip
    """Train a network that weighs stems against what separators say of them, for second opinions."""
    from stemprover.training.runs import train_arbiter

    with _training("arbiter", recipe) as run:
        run.wrote(train_arbiter(pairs, out, opinions, without, kept, run.recipe, run.log, run.numbers, alone=alone))


@train.command()
@click.option("--pairs", type=_folder, required=True, help="Pairs folder made with `stemprover data pairs`.")
@click.option("--package", type=_folder, required=True, help="Package folder whose models are rewritten.")
@click.option("--max-pairs", type=click.IntRange(1), default=4000, show_default=True, help="Per split.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes for the features.")
def detectors(pairs: Path, package: Path, max_pairs: int, jobs: int) -> None:
    """Train, calibrate and measure the detectors."""
    from stemprover.cli.counting import stage_log
    from stemprover.training.detectors import DetectorRecipe, train_detectors

    with stage_log() as report:
        metrics = train_detectors(DetectorRecipe(pairs, package, max_pairs, jobs=jobs), report)
    click.echo(json.dumps(metrics, indent=2))


@dataclasses.dataclass(frozen=True)
class _Training:
    """What every training needs: the recipe's file, what overrides it, and where figures go."""

    recipe: Path
    numbers: Mapping[str, object]
    log: Callable[[Mapping[str, float]], None]

    @staticmethod
    def wrote(folder: Path) -> None:
        """Say where the result is, in the first of several processes."""
        if _first():
            click.echo(f"wrote {folder}")


@contextlib.contextmanager
def _training(name: str, recipe: Path | None) -> Iterator[_Training]:
    """Fill in the recipe and show progress."""
    from stemprover.cli.counting import figures_log

    prepare_process(training=True)
    from stemprover.training.loop import read_recipe
    from stemprover.training.runs import RECIPES

    path = RECIPES / f"{name}.yaml" if recipe is None else recipe
    numbers = click.get_current_context().meta[_NUMBERS]
    if not _first():
        yield _Training(path, numbers, lambda _: None)
        return
    with figures_log(name, read_recipe(path, numbers).steps) as log:
        yield _Training(path, numbers, log)


def _first() -> bool:
    """Whether this is the only process of a training, or the first that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def _base_folder(base: Path | None) -> Path:
    from stemprover.plugins.base import BASE_FILE

    return BASE_FILE.parent if base is None else base
