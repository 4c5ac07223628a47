"""Releasing: weights take their places together with their figures, or nothing is replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stemprover.errors import TrainingError
from stemprover.training.release import main, release_models


def run(folder: Path, content: str, gain: float) -> Path:
    """A finished run that logged training figures, and validated twice."""
    (folder / "final").mkdir(parents=True)
    (folder / "final" / "model.safetensors").write_text(content)
    rows = [{"step": 5.0, "val/gain_db": 0.1}, {"step": 10.0, "loss": 1.0}, {"step": 10.0, "val/gain_db": gain}]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_weights_are_replaced_and_their_last_figures_noted(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    first = {name: run(tmp_path / f"{name}1", f"{name} 1", 0.25) for name in ("base", "vocoder", "gate")}
    release_models(first, weights)
    release_models({"vocoder": run(tmp_path / "vocoder2", "vocoder 2", 0.5)}, weights)
    shown = {name: (weights / name / "model.safetensors").read_text() for name in first}
    assert shown == {"base": "base 1", "vocoder": "vocoder 2", "gate": "gate 1"}
    rows = [line for line in (weights / "README.md").read_text().splitlines() if "gain_db |" in line]
    assert rows == [
        "| base | 10 | gain_db | 0.2500 |",
        "| vocoder | 10 | gain_db | 0.5000 |",
        "| gate | 10 | gain_db | 0.2500 |",
    ]


def test_nothing_is_replaced_if_any_run_is_not_finished(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    release_models({"base": run(tmp_path / "old", "old", 0.1)}, weights)
    card = (weights / "README.md").read_text()
    (tmp_path / "stopped").mkdir()
    with pytest.raises(TrainingError, match="no final folder"):
        release_models({"base": run(tmp_path / "new", "new", 0.2), "gate": tmp_path / "stopped"}, weights)
    assert (weights / "base" / "model.safetensors").read_text() == "old"
    assert (weights / "README.md").read_text() == card


def test_adapters_are_not_released_without_their_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["release", "--adapters", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        main()
