"""Training of stage 1 and of the vocoder: what is drawn from pairs, steps that change weights, exact resume."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from stemprover.data.pairs import PairAudio, write_pair
from stemprover.detection import Detection
from stemprover.enhance import Enhancer
from stemprover.errors import BaseMismatchError, OptionError, TrainingError
from stemprover.plugins import Plugin
from stemprover.restoration.weights import load_base
from stemprover.spectral.bands import band_centres_hz
from stemprover.spectral.spec import SPEC
from stemprover.stems import Stem
from stemprover.synthesis.embedded import load_embedded
from stemprover.synthesis.gate import load_gate
from stemprover.training.dataset import FRAMES, SAMPLES, PairBatches
from stemprover.training.detected import DETECTIONS, detect_pairs, read_detections
from stemprover.training.losses import error_ratio, gain_error_ratio, scaled_error_ratio, scaled_gain_error_ratio
from stemprover.training.runs import train_base, train_gate, train_lora, train_vocoder
from stemprover.training.variation import Variation

SECONDS = 4
CELLS = -(-(SECONDS * SPEC.sample_rate // SPEC.hop + 1) // SPEC.cell_frames)
DETECTION = {
    "artifact": "bleed/drums", "start_s": 0.0, "end_s": 4.0, "low_hz": 3000.0, "high_hz": 22050.0,
    "confidence": 0.9, "severity": 0.7,
}  # fmt: skip


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs per split: a tone, and the same with noise as bleed; labels say phasiness."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    time = np.arange(SECONDS * SPEC.sample_rate) / SPEC.sample_rate
    clean = np.tile(0.3 * np.sin(2 * np.pi * 440 * time), (2, 1)).astype(np.float32)
    labels = {"phasiness": np.full((CELLS, SPEC.n_cell_bands), 0.4, np.float32)}
    for split in ("train", "validation"):
        for index in range(2):
            noise = 0.05 * rng.standard_normal(clean.shape).astype(np.float32)
            audio = PairAudio(clean, clean + noise, clean + 2 * noise, labels)
            facts = {"song": "tone", "stem": "vocals", "separator": "mask", "split": split}
            write_pair(folder, index, audio, {**facts, "has_siblings": True, "sdr_db": 12.0, "severity": 0.6})
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"steps": 2, "batch_size": 1, "validation_batches": 1, "precision": "no"}))
    return path


def note_detections(pairs: Path, found: list[dict[str, object]]) -> None:
    lines = [json.dumps({"id": f"{split}-{index:06d}", "blind": [], "siblings": found})
             for split in ("train", "validation") for index in range(2)]  # fmt: skip
    (pairs / DETECTIONS).write_text("\n".join(lines) + "\n")


def batches(pairs: Path, **shares: float) -> PairBatches:
    return PairBatches(pairs, "train", 4, 0, blind_share=0.0, rescale_share=0.0, **shares)


def test_without_detections_items_are_told_the_labels(pairs: Path) -> None:
    (pairs / DETECTIONS).unlink(missing_ok=True)
    batch = batches(pairs, flat_share=0.0).batch(0)
    assert batch.artifacts == ("phasiness",) * 4
    assert torch.allclose(batch.severity, torch.tensor(0.4))
    assert batch.region.min() == 1.0


def test_detected_regions_are_drawn_as_the_renderer_draws_them(pairs: Path) -> None:
    note_detections(pairs, [DETECTION])
    batch = batches(pairs, detected_share=1.0).batch(0)
    assert batch.artifacts == ("bleed/drums",) * 4
    assert batch.region.shape == (4, SPEC.n_bands, FRAMES)
    assert batch.region[:, -1].min() == 1.0
    assert batch.region[:, 0].max() < 1e-30
    assert torch.allclose(batch.severity, 0.7 * batch.region)
    assert torch.allclose(batch.overall, torch.tensor(0.7))


def test_some_items_are_told_to_repair_everything(pairs: Path) -> None:
    note_detections(pairs, [DETECTION])
    batch = batches(pairs, detected_share=0.0, flat_share=1.0).batch(0)
    assert batch.region.min() == 1.0
    assert torch.allclose(batch.severity, torch.tensor(0.5))


def test_a_batch_depends_on_its_number_only(pairs: Path) -> None:
    first, again = batches(pairs).batch(7), batches(pairs).batch(7)
    assert torch.equal(first.degraded, again.degraded)
    assert torch.equal(first.severity, again.severity)
    assert not torch.equal(first.degraded, batches(pairs).batch(8).degraded)


def test_a_varied_pair_is_still_a_pair(pairs: Path) -> None:
    """The tone's pitch follows the speed, what was added stays what was added, and detections move along."""
    loud = Variation(speed=1.25, gains_db=(6.0,) * 6)
    time = np.arange(loud.length(SAMPLES)) / SPEC.sample_rate
    tone = np.tile(0.1 * np.sin(2 * np.pi * 1000 * time), (2, 2, 1)).astype(np.float32)
    tone[1] *= -0.5
    varied = loud.audio(tone, SAMPLES)
    assert varied.shape == (2, 2, SAMPLES)
    assert np.allclose(varied[1], -0.5 * varied[0], atol=1e-6)
    spectrum = np.abs(np.fft.rfft(varied[0, 0, 2048:-2048] * np.hanning(SAMPLES - 4096)))
    assert np.argmax(spectrum) * SPEC.sample_rate / (SAMPLES - 4096) == pytest.approx(1250, abs=1)
    assert varied[0, 0, SAMPLES // 4 : SAMPLES // 2].max() == pytest.approx(0.1 * 10 ** (6 / 20), rel=0.01)
    (moved,) = loud.detections([Detection(**{**DETECTION, "start_s": 1.0, "high_hz": 4000.0})])
    assert (moved.start_s, moved.end_s, moved.low_hz, moved.high_hz) == (0.8, 3.2, 3750.0, 5000.0)
    assert loud.detections([Detection(**{**DETECTION, "low_hz": 20_000.0})]) == ()


def test_a_map_moves_as_its_sound_does() -> None:
    slow = Variation(speed=0.8)
    values = np.zeros((SPEC.n_bands, slow.length(FRAMES)), np.float32)
    centres = band_centres_hz()
    values[np.abs(centres - 5000).argmin(), 100] = 1.0
    band, frame = np.argwhere(slow.map(values, FRAMES)).mean(0)
    assert centres[round(band)] == pytest.approx(4000, rel=0.03)
    assert frame == pytest.approx(125, abs=1)


def test_a_stereo_image_turns_without_changing_its_energy() -> None:
    audio = np.random.default_rng(0).standard_normal((3, 2, 1000)).astype(np.float32)
    turned = Variation(angle=0.3).audio(audio, 1000)
    assert np.allclose((turned**2).sum(1), (audio**2).sum(1), rtol=1e-4)
    assert not np.allclose(turned, audio)


def test_varied_batches_differ_and_keep_their_form(pairs: Path) -> None:
    note_detections(pairs, [DETECTION])
    plain, varied = batches(pairs).batch(0), batches(pairs, varied_share=1.0).batch(0)
    assert plain.clean.shape == varied.clean.shape
    assert plain.region.shape == varied.region.shape
    assert not torch.allclose(plain.clean, varied.clean, atol=0.01)


def test_the_installed_detectors_examine_each_pair_once(pairs: Path) -> None:
    (pairs / DETECTIONS).unlink(missing_ok=True)
    assert detect_pairs(pairs) == 4
    assert detect_pairs(pairs) == 0
    assert sorted(read_detections(pairs)) == ["train-000000", "train-000001", "validation-000000", "validation-000001"]


def test_pairs_can_be_examined_in_several_processes(pairs: Path) -> None:
    (pairs / DETECTIONS).unlink(missing_ok=True)
    seen: list[int] = []
    assert detect_pairs(pairs, seen.append, jobs=2) == 4
    assert seen == [1, 1, 1, 1]
    apart = {name: [len(found.blind), len(found.siblings)] for name, found in read_detections(pairs).items()}
    (pairs / DETECTIONS).unlink()
    assert detect_pairs(pairs) == 4
    assert {name: [len(found.blind), len(found.siblings)] for name, found in read_detections(pairs).items()} == apart


def test_the_scaled_error_ratio_is_the_gain_of_one_plus_si_sdr() -> None:
    torch.manual_seed(0)
    clean = torch.randn(2, 50, 20, dtype=torch.complex64)
    degraded, estimate = clean + 0.5 * torch.randn_like(clean), 2.0 * clean + 0.3 * torch.randn_like(clean)
    flat = [torch.view_as_real(spectrum).flatten(1) for spectrum in (clean, degraded, estimate)]
    before, after = (scale_invariant_signal_distortion_ratio(one, flat[0]) for one in flat[1:])
    found = -10.0 * scaled_error_ratio(estimate, clean, degraded, floor=0.0)
    expected = 10.0 * torch.log10((1.0 + 10.0 ** (after / 10.0)) / (1.0 + 10.0 ** (before / 10.0)))
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.01)
    assert torch.allclose(scaled_error_ratio(0.1 * degraded, clean, degraded), torch.zeros(2), atol=1e-4)


def test_ratios_of_gains_are_those_of_the_stems_that_the_gains_make() -> None:
    torch.manual_seed(0)
    clean = torch.randn(2, 50, 20, dtype=torch.complex64)
    degraded, gain = clean + 0.5 * torch.randn_like(clean), torch.rand(2, 50, 20)
    for written_out, plain in ((gain_error_ratio, error_ratio), (scaled_gain_error_ratio, scaled_error_ratio)):
        found = written_out(gain, clean, degraded)
        torch.testing.assert_close(found, plain(gain * degraded, clean, degraded), rtol=1e-4, atol=1e-5)


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def heard_of(run: Path) -> dict[str, np.ndarray]:
    """What the last validation let be heard of its first item."""
    events = EventAccumulator(str(run / "logs"), size_guidance={"audio": 0}).Reload()
    kept = {
        tag: events.Audio(tag)[-1].encoded_audio_string for tag in events.Tags()["audio"] if tag.startswith("item 1/")
    }
    return {tag.removeprefix("item 1/"): soundfile.read(io.BytesIO(wav))[0] for tag, wav in kept.items()}


def test_base_then_adapter_then_vocoder_and_an_exact_resume(pairs: Path, recipe: Path, tmp_path: Path) -> None:
    whole = train_base(pairs, tmp_path / "whole", recipe=recipe)
    first = weights_of(load_base(whole))
    assert heard_of(tmp_path / "whole").keys() == {"before", "repaired", "clean"}
    train_base(pairs, tmp_path / "parts", recipe=recipe, overrides={"steps": 1})
    parts = train_base(pairs, tmp_path / "parts", recipe=recipe)
    assert torch.equal(weights_of(load_base(parts)), first)
    further = train_base(pairs, tmp_path / "further", start=whole, recipe=recipe)
    assert not torch.equal(weights_of(load_base(further)), first)
    assert not any(str(tmp_path) in path.read_text("utf-8") for path in further.rglob("*.json")), "no local paths"
    adapter = train_lora(pairs, tmp_path / "lora", whole, "bleed/drums", rank=2, recipe=recipe)
    assert (adapter / "adapter_model.safetensors").is_file()
    with pytest.raises(OptionError, match="got --rank; leave out --rank"):
        train_lora(pairs, tmp_path / "more", whole, "bleed/drums", rank=4, start=adapter, recipe=recipe)
    weights = adapter / "adapter_model.safetensors"
    with safe_open(weights, "pt") as file:
        about = file.metadata()
    save_file({key: value.half() for key, value in load_file(weights).items()}, weights, about)
    more = train_lora(pairs, tmp_path / "more", whole, "bleed/drums", start=adapter, recipe=recipe)
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, more))
    assert {key: value.shape for key, value in after.items()} == {key: value.shape for key, value in before.items()}
    assert any(not torch.equal(value, before[key].float()) for key, value in after.items())
    assert {value.dtype for value in after.values()} == {torch.float32}, "steps too small for half precision count"
    with pytest.raises(BaseMismatchError):
        train_lora(pairs, tmp_path / "other", further, "bleed/drums", start=adapter, recipe=recipe)
    vocoder = train_vocoder(pairs, tmp_path / "vocoder", base=whole, recipe=recipe)
    assert weights_of(load_embedded(vocoder).head).abs().max() > 0
    heard = heard_of(tmp_path / "vocoder")
    assert not np.array_equal(heard["before"], heard["clean"])
    assert 0.0 < np.abs(heard["repaired"] - heard["before"]).max() < 1.0


def test_the_gate_learns_from_repairs_that_are_made_once(
    pairs: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = train_gate(pairs, tmp_path, count=2, recipe=recipe)
    made = sorted((tmp_path / "repairs" / "train").glob("*.safetensors"))
    names = {"train-000000", "train-000000-alone", "train-000000-balanced", "train-000001", "train-000001-spoiled"}
    assert {path.stem for path in made} == names
    weights = load_gate(gate)
    assert weights.deviation.min() > 0
    times = [path.stat().st_mtime_ns for path in made]
    again = train_gate(pairs, tmp_path, count=2, recipe=recipe, overrides={"steps": 3})
    assert [path.stat().st_mtime_ns for path in made] == times
    assert not torch.equal(weights_of(load_gate(again)), weights_of(weights))
    with monkeypatch.context() as patched:
        patched.setattr(Plugin, "contents", property(lambda plugin: (plugin.name, plugin.version, ("retrained",))))
        with pytest.raises(TrainingError, match=r"others of .*bleed"):
            train_gate(pairs, tmp_path, count=2, recipe=recipe)
    monkeypatch.setattr("stemprover.training.gate_repairs.EVIDENCE", ("another cue",))
    with pytest.raises(TrainingError, match="others of evidence"):  # as for other steps and another temperature
        train_gate(pairs, tmp_path, count=2, recipe=recipe)


def test_pairs_in_which_nothing_is_found_teach_no_gate(
    pairs: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Enhancer, "enhance_set", lambda _, stems, settings: (_unchanged(stems.stems[0]),))
    with pytest.raises(TrainingError, match="none in 5 of train"):
        train_gate(pairs, tmp_path, count=2, recipe=recipe)


def _unchanged(stem: Stem) -> SimpleNamespace:
    return SimpleNamespace(audio=stem.read(0, stem.format.samples), segments=())
