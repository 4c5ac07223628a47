"""Write what the docs repeat from elsewhere; ``--check`` only compares.

    python docs/generate.py [--check]

* ``docs/cli.md`` from the command line's own help,
* ``stemprover/registry.yaml``: the metrics of the plugins in this repository, from their manifests,
* ``docs/plugins/registry.md`` from the registry,
* the figures in ``detectors/README.md`` from ``metrics.json`` of the released detectors,
* what ``README.md`` says of speed and memory from ``docs/benchmarks/speed.json``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import yaml

from stemprover.cli.main import cli
from stemprover.plugins.index import REGISTRY_FILE

DOCS = Path(__file__).parent
TARGET = DOCS / "cli.md"
REGISTRY_PAGE = DOCS / "plugins" / "registry.md"
DETECTORS_PAGE = DOCS.parent / "detectors" / "README.md"
DETECTORS_METRICS = DOCS.parent / "detectors" / "stemprover_detectors" / "metrics.json"
_MARKS = ("<!-- measured: begin -->\n", "<!-- measured: end -->")
README = DOCS.parent / "README.md"
SPEED = DOCS / "benchmarks" / "speed.json"
_SPEED_MARKS = ("<!-- speed: begin -->\n", "<!-- speed: end -->")
WIDTH = 100
HEAD = """# Command line

Generated from the commands' own help by `make docs`; a test compares.

Exit codes: 0 done, 1 some of several inputs failed, 2 bad usage or the only input failed (one line on stderr for each),
130 interrupted.
"""
REGISTRY_HEAD = """# Known plugins

Generated from [`registry.yaml`](../../stemprover/registry.yaml) by `make docs`; a test compares. `stemprover plugins
search` finds them by word, artifact or stem, `stemprover plugins install NAME` installs them. *Gain* is what the
plugin's own manifest says was measured, in dB of SI-SDR on pairs of its artifact, and *harm* the loss on clean stems.

| name | kind | artifacts | stems | summary | gain | harm | licence | base | distribution |
|---|---|---|---|---|---:|---:|---|---|---|
"""


def sections(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield a Markdown section for a command and those below it."""
    level = "#" * (2 + context.command_path.count(" "))
    text = command.get_help(context).rstrip()
    yield f"{level} `{context.command_path}`\n\n```text\n{text}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from sections(child, _context(child, name, context))


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    flags = command.context_settings.get("help_option_names")
    return click.Context(command, parent, name, terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=flags)


def render() -> str:
    """Return the whole page of the command line."""
    return "\n".join((HEAD, *sections(cli, _context(cli, "stemprover"))))


def measured() -> dict[str, Mapping[str, float | str]]:
    """Metrics of the plugins in this repository, by name."""
    manifests = (
        *DOCS.parent.glob("plugins/*/stemprover_*/**/stemprover.json"),
        *DOCS.parent.glob("detectors/*/stemprover.json"),
    )
    read = (json.loads(path.read_text(encoding="utf-8")) for path in manifests)
    return {manifest["name"]: manifest.get("metrics", {}) for manifest in read}


def render_registry() -> str:
    """Return the registry with the metrics of this repository's plugins; all else is edited by hand."""
    known = measured()
    head, *entries = re.split(r"(?m)^(?=  - name: )", REGISTRY_FILE.read_text(encoding="utf-8"))
    done = [head]
    for entry in entries:
        metrics = known.get(entry.split("\n", 1)[0].removeprefix("  - name: ").strip())
        if metrics is not None:
            entry = re.sub(r"(?m)^    metrics: .*\n", "", entry)
            flow = yaml.safe_dump(dict(metrics), default_flow_style=True, sort_keys=False, width=10_000)
            line = f"    metrics: {flow}" if metrics else ""
            body = entry.rstrip("\n")
            entry = f"{body}\n{line}{entry[len(body) + 1 :]}"
        done.append(entry)
    return "".join(done)


def render_registry_page() -> str:
    """Return the page of known plugins."""
    rows = []
    for entry in yaml.safe_load(render_registry())["plugins"]:
        gain, harm = (entry.get("metrics", {}).get(key) for key in ("si_sdr_gain_db", "clean_harm_db"))
        cells = (
            f"`{entry['name']}`",
            entry["kind"],
            ", ".join(entry.get("artifacts", ())),
            ", ".join(entry.get("stems", ())) or "any",
            entry["summary"],
            "" if gain is None else f"{gain:+.2f}",
            "" if harm is None else f"{harm:.2f}",
            entry["license"],
            entry.get("base", ""),
            f"`{entry.get('distribution') or 'hf:' + entry['hub']}`",
        )
        rows.append("| " + " | ".join(cells) + " |\n")
    return REGISTRY_HEAD + "".join(rows)


def render_detectors_page() -> str:
    """Return the detectors' page with the figures of the released models between its marks."""
    metrics = json.loads(DETECTORS_METRICS.read_text(encoding="utf-8"))
    keys = ("roc_auc", "precision", "recall", "iou", "calibration_error")
    situations = {"siblings": "with siblings", "alone": "alone"}
    lines = [
        "| artifact | stem | ROC-AUC | precision | recall | IoU | calibration error |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for artifact in ("bleed", "phasiness", "hf-distortion"):
        for situation, words in situations.items():
            cells = (f"{metrics[situation][artifact][key]:.2f}" for key in keys)
            lines.append(f"| {artifact} | {words} | {' | '.join(cells)} |")
    touched = (f"{metrics[key]['clean_touched_share']:.1%} {words}" for key, words in situations.items())
    named = f"The source of bleed is named right in {metrics['source_accuracy']:.0%} of cells"
    lines += ["", f"Time touched in clean excerpts: {', '.join(touched)}. {named}", ""]
    return _between(DETECTORS_PAGE, _MARKS, "\n".join(lines))


def render_readme() -> str:
    """Return the page that users see first with the measured speed between its marks."""
    parts = {part: found["results"] for part, found in json.loads(SPEED.read_text(encoding="utf-8")).items()}
    cases = {row["case"]: row["total"] / row["audio"] for row in parts["rtf"]}
    peaks = {row["minutes"]: row["peak_mb"] / 1000 for row in parts["memory"]}
    waits = {row["command"]: row["median_ms"] for row in parts["startup"]}
    many = max(parts["plugins"], key=lambda row: row["count"])
    lines = [
        f"| two CPU cores, stereo 44.1 kHz, every segment repaired | {' | '.join(cases)} |",
        f"|---|{'---:|' * len(cases)}",
        f"| processing time / audio time | {' | '.join(f'{each:.2f}' for each in cases.values())} |",
        "",
        f"Peak memory is {peaks[5]:.1f} GB for five minutes of audio and {peaks[30]:.1f} GB for thirty;",
        f"`stemprover --help` takes {waits['--help']:.0f} ms,",
        f"`plugins list` with {many['count']} more plugins {many['median_ms']:.0f} ms",
        "([docs/benchmarks/speed.md](docs/benchmarks/speed.md)).",
        "",
    ]
    return _between(README, _SPEED_MARKS, "\n".join(lines))


def _between(page: Path, marks: tuple[str, str], text: str) -> str:
    head, rest = page.read_text(encoding="utf-8").split(marks[0])
    return head + marks[0] + text + marks[1] + rest.split(marks[1])[1]


def pages() -> dict[Path, str]:
    """Return every generated file and what belongs in it."""
    return {
        TARGET: render(),
        REGISTRY_FILE: render_registry(),
        REGISTRY_PAGE: render_registry_page(),
        DETECTORS_PAGE: render_detectors_page(),
        README: render_readme(),
    }


def main(arguments: list[str]) -> int:
    """Write or compare; returns the exit code."""
    for path, text in pages().items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in arguments:
            return 1
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
