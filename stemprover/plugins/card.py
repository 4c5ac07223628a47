"""The measured part of a model card, generated from the manifest so that the two cannot disagree."""

from __future__ import annotations

from pathlib import Path

from stemprover.errors import ManifestError
from stemprover.plugins.manifest import Manifest

__all__ = ["metrics_table", "update_card"]

_BEGIN, _END = "<!-- metrics -->", "<!-- /metrics -->"


def metrics_table(manifest: Manifest) -> str:
    """Return the manifest's metrics and base as a Markdown table, without a final line break."""
    rows = [f"| `{name}` | {_shown(name, value)} |" for name, value in manifest.metrics.items()]
    if not rows:
        return "Not measured yet."
    if manifest.base is not None:
        rows.append(f"| base | {manifest.base.id} (`{manifest.base.sha256[:12]}`) |")
    return "\n".join(["| metric | value |", "|---|---|", *rows])


def update_card(path: Path, manifest: Manifest) -> None:
    """Write the table between the ``<!-- metrics -->`` marks of a model card.

    Raises
    ------
    ManifestError
        The card has no pair of marks.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ManifestError(f"{_BEGIN} and {_END} in {path}", "no such marks", "add them where the metrics belong")
    path.write_text(f"{before}{_BEGIN}\n{metrics_table(manifest)}\n{_END}{after}", encoding="utf-8")


def _shown(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return value.replace("|", "\\|")
    return f"{value:+.2f}" if name.endswith("_db") else f"{value:g}"
