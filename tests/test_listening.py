"""What can be heard and seen of a training in TensorBoard."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from stemprover.spectral.spec import SPEC
from stemprover.training.listening import Heard, show

RATE = SPEC.sample_rate
SAMPLES = 2 * RATE


def logged(folder: Path, heard: Heard) -> EventAccumulator:
    with SummaryWriter(str(folder)) as writer:
        show(writer, 7, heard)
    events = EventAccumulator(str(folder), size_guidance={"audio": 0, "images": 0})
    return events.Reload()


def test_signals_are_logged_as_they_sound_and_side_by_side_as_they_look(tmp_path: Path) -> None:
    time = torch.arange(SAMPLES) / RATE
    tone = 0.5 * torch.sin(2 * torch.pi * 1000.0 * time).expand(5, -1)
    events = logged(tmp_path, Heard({"before": tone, "repaired": torch.zeros_like(tone), "clean": tone}, RATE))
    names = ("before", "repaired", "clean")
    assert sorted(events.Tags()["audio"]) == sorted(f"item {n}/{name}" for n in (1, 2, 3) for name in names), (
        "three items"
    )
    (event,) = events.Audio("item 2/before")
    audio, rate = soundfile.read(io.BytesIO(event.encoded_audio_string))
    assert (event.step, rate) == (7, RATE)
    np.testing.assert_allclose(audio, tone[1].numpy(), atol=1e-4)

    (seen,) = events.Images("item 1/before, repaired, clean")
    rows = np.asarray(Image.open(io.BytesIO(seen.encoded_image_string))).astype(int).sum(-1)
    assert rows.shape[0] == SPEC.n_bands
    before, repaired, clean = (part[:, 20:-20] for part in np.array_split(rows, 3, axis=1))
    assert repaired.max() < before.max(), "silence is dark"
    loudest = SPEC.n_bands - 1 - before.mean(1).argmax()
    assert 0 < loudest < SPEC.n_bands / 2, "low frequencies are at the bottom"
    np.testing.assert_array_equal(before.mean(1).argmax(), clean.mean(1).argmax())


@pytest.mark.parametrize("level", [0.0, 1e-12])
def test_silence_can_be_shown(tmp_path: Path, level: float) -> None:
    events = logged(tmp_path, Heard({"before": torch.full((1, SAMPLES), level)}, RATE))
    assert events.Tags()["images"] == ["item 1/before"]
