"""The measured part of a model card, generated from the manifest so that the two cannot disagree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stemprover.errors import ManifestError
from stemprover.plugins.manifest import Manifest

__all__ = ["card_problems", "has_marks", "metrics_table", "own_license", "update_card"]

_BEGIN, _END = "<!-- metrics -->", "<!-- /metrics -->"


def own_license(manifest: Manifest) -> str:
    """Return the licence of what a plugin's package holds: of one that downloads weights, the part before ``AND``."""
    return manifest.license.partition(" AND ")[0] if manifest.download_size_mb else manifest.license


def metrics_table(manifest: Manifest) -> str:
    """Return the manifest's metrics and base as a Markdown table, without a final line break."""
    rows = [f"| `{name}` | {_shown(name, value)} |" for name, value in manifest.metrics.items()]
    if not rows:
        return "Not measured yet."
    if manifest.base is not None:
        rows.append(f"| base | {manifest.base.id} (`{manifest.base.sha256[:12]}`) |")
    return "\n".join(["| metric | value |", "|---|---|", *rows])


def has_marks(path: Path) -> bool:
    """Tell whether a card is there and says where its metrics belong."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    return _BEGIN in text and _END in text.partition(_BEGIN)[2]


def card_problems(text: str, manifest: Manifest) -> Iterator[str]:
    """Yield what is wrong with a model card: absent, without licence, or with other figures than the manifest."""
    if not text.strip():
        yield "there is no model card; write a README.md and name it as readme in pyproject.toml"
        return
    head = text.partition("---\n")[2].partition("\n---")[0] if text.startswith("---") else ""
    stated = [line.partition(":")[2].strip() for line in head.splitlines() if line.startswith("license:")]
    own = own_license(manifest).lower()
    if stated != [own]:
        yield f"the card must begin with a block that states license: {own}, not {stated}"
    if manifest.kind != "lora":
        return
    table = text.partition(_BEGIN)[2].partition(_END)[0].strip()
    if _BEGIN not in text or _END not in text:
        yield f"the card has no place for the metrics: {_BEGIN} and {_END}"
    elif table != metrics_table(manifest):
        yield "the card's metrics are not those of the manifest; 'stemprover plugins pack' or the kit writes both"


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
