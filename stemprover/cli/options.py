"""Option types and options that several commands share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import click

from stemprover.errors import OptionError

if TYPE_CHECKING:
    from stemprover.batch.engines import Engine
    from stemprover.routing import AdapterChoice

__all__ = [
    "DEVICES",
    "DTYPES",
    "QUALITIES",
    "STEM_NAMES",
    "BatchOptions",
    "adapter_choices",
    "batch_options",
    "device_options",
    "input_argument",
    "inputs_or_manifest",
    "second_opinion_option",
]

# Repeated here because `--help` must not import what defines them (numpy, torch); a test compares.
STEM_NAMES = (
    "vocals", "drums", "bass", "other", "piano", "guitar", "kick", "snare", "toms", "hihat", "cymbals", "instrumental",
    "generic",
)  # fmt: skip
QUALITIES = ("fast", "balanced", "best")
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "float16", "bfloat16")


@dataclasses.dataclass(frozen=True, slots=True)
class BatchOptions:
    """What the command line says about many inputs, see their help texts."""

    manifest: str | None
    resume: bool
    failures: str | None
    jobs: int | None
    threads: int | None
    engine: Literal["local", "ray"]
    address: str | None
    gpus_per_worker: float

    def to_engine(self) -> Engine:
        """Return where to work.

        Raises
        ------
        OptionError
            For options of a cluster without one.
        """
        from stemprover.batch.engines import Engine

        if self.engine == "local" and (self.address is not None or self.gpus_per_worker):
            name = "--gpus-per-worker" if self.address is None else "--address"
            raise OptionError(f"--engine ray with {name}", "--engine local", "add --engine ray")
        return Engine(self.engine, self.jobs, self.threads, self.address, self.gpus_per_worker)


_Command = TypeVar("_Command", bound=Callable[..., Any])

input_argument = click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path())
inputs_or_manifest = click.argument("inputs", metavar="INPUT...", nargs=-1, type=click.Path())
_BATCH_OPTIONS = (
    click.option(
        "--manifest",
        metavar="CSV",
        help="More inputs: columns input and, if wanted, output, mixture, stem, title (of one song among several).",
    ),
    click.option(
        "--resume", is_flag=True, help="Leave out what was done before with the same inputs, settings and weights."
    ),
    click.option(
        "--failures", metavar="CSV", help="Where to list failed inputs.  [default: failures.csv with the results]"
    ),
    click.option("--jobs", type=click.IntRange(1), help="Inputs to work on at a time.  [default: 1; with Ray all]"),
    click.option("--threads", type=click.IntRange(1), help="CPU threads per job.  [default: cores / jobs; with Ray 1]"),
    click.option(
        "--engine",
        type=click.Choice(("local", "ray")),
        default="local",
        show_default=True,
        help="Work here, or on a Ray cluster.",
    ),
    click.option("--address", help="Ray cluster to join; without, one is started on this machine."),
    click.option(
        "--gpus-per-worker",
        type=click.FloatRange(0.0),
        default=0.0,
        show_default=True,
        help="With Ray: share of a GPU for each worker.",
    ),
)


def batch_options(command: _Command) -> _Command:
    """Add the options of many inputs, handed over as one :class:`BatchOptions` called ``batch``."""
    names = [field.name for field in dataclasses.fields(BatchOptions)]

    @functools.wraps(command)
    def with_batch(*arguments: Any, **options: Any) -> Any:
        batch = BatchOptions(**{name: options.pop(name) for name in names})
        if not options["inputs"] and batch.manifest is None:
            raise click.UsageError("Missing argument 'INPUT...'.", click.get_current_context())
        return command(*arguments, batch=batch, **options)

    for option in reversed(_BATCH_OPTIONS):
        option(with_batch)
    return cast(_Command, with_batch)


def second_opinion_option(command: _Command) -> _Command:
    """Whether another separator's idea of a stem takes part."""
    return click.option(
        "--second-opinion/--no-second-opinion",
        default=True,
        show_default=True,
        help="With siblings or a mixture: ask a small separator too.",
    )(command)


def device_options(command: _Command) -> _Command:
    """Add ``--device`` and ``--dtype``."""
    command = click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True)(command)
    return click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="auto",
        show_default=True,
        help="auto: cuda, else mps, else cpu.",
    )(command)


def adapter_choices(texts: tuple[str, ...]) -> tuple[AdapterChoice, ...]:
    """Read ``NAME`` or ``NAME:STRENGTH`` options.

    Raises
    ------
    OptionError
        Without a name, or if the strength is no number.
    """
    from stemprover.routing import AdapterChoice

    choices = []
    for text in texts:
        name, colon, strength = text.partition(":")
        try:
            choices.append(AdapterChoice(name, float(strength) if colon else 1.0))
        except ValueError as error:
            raise OptionError(
                "--adapter NAME or NAME:STRENGTH", repr(text), "write for example --adapter drumbleed:0.8"
            ) from error
    return tuple(choices)
