"""Releasing: weights take their places together with their figures, or nothing is replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stemprover.errors import TrainingError
from stemprover.training import release
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
    release_models({"separator": run(tmp_path / "separator1", "separator 1", 0.125)}, weights)
    rows = [line for line in (weights / "README.md").read_text().splitlines() if "gain_db |" in line]
    assert rows == [
        "| base | 10 | gain_db | 0.2500 |",
        "| vocoder | 10 | gain_db | 0.5000 |",
        "| gate | 10 | gain_db | 0.2500 |",
        "| separator | 10 | gain_db | 0.1250 |",
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


@pytest.mark.parametrize("option", ["--adapters", "--figures"])
def test_adapters_are_not_released_without_their_figures(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["release", option, str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "go together" in capsys.readouterr().err


def test_figures_that_cannot_be_used_are_named_before_anything_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = tmp_path / "adapters.json"
    figures.write_text(json.dumps({"drumbleed": {"adapter": {"gain_db": 1.0}}}))
    arguments = ["--base", tmp_path / "none", "--adapters", tmp_path, "--figures", figures]
    monkeypatch.setattr("sys.argv", ["release", *map(str, arguments)])
    with pytest.raises(TrainingError, match="si_sdr_gain_db"):
        main()


def test_adapters_are_packed_with_gains_of_si_sdr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"si_sdr_gain_db": 0.5, "sdr_gain_db": 9.0, "improved": 0.75, "harmed": 0.1}
    (tmp_path / "figures.json").write_text(
        json.dumps({"hum": {"base": row, "adapter": row, "clean": row | {"si_sdr_gain_db": -0.25}}})
    )
    packed = {}
    monkeypatch.setattr(release, "pack_adapter", lambda final, package, metrics: packed.update({package.name: metrics}))
    arguments = ["--adapters", tmp_path, "--figures", tmp_path / "figures.json"]
    monkeypatch.setattr("sys.argv", ["release", *map(str, arguments)])
    main()
    assert packed == {
        "stemprover_lora_hum": {
            "benchmark": "validation-v2",
            "si_sdr_gain_db": 0.5,
            "base_gain_db": 0.5,
            "clean_harm_db": 0.25,
            "improved_share": 0.75,
        }
    }
