"""Losses put every tensor on the batch's device.

The device is torch's ``meta``: its tensors have shapes and no values, and like a GPU's they do not mix with the CPU's.
"""

from __future__ import annotations

import pytest
import torch

from stemprover.restoration.model import RestorationModel
from stemprover.spectral.spec import SPEC
from stemprover.synthesis.embedded import EmbeddedVocoder
from stemprover.training.dataset import FRAMES, SAMPLES, Batch
from stemprover.training.loop import _on
from stemprover.training.restoration import RestorationTask, new_model
from stemprover.training.vocoder import VocoderTask

META = torch.device("meta")


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> Batch:
    item, autocast = torch.Tensor.item, torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda _, **options: autocast("cpu", **options))  # meta knows none
    monkeypatch.setattr(torch.Tensor, "item", lambda self: 0.0 if self.device == META else item(self))
    audio = [torch.randn(2, SAMPLES) for _ in range(5)]
    maps = [torch.rand(2, SPEC.n_bands, FRAMES) for _ in range(2)]
    here = Batch(*audio, *maps, ("vocals", "drums"), ("any", "bleed"), torch.rand(2))
    return _on(META, here)


def test_a_batch_moves_as_a_whole(batch: Batch) -> None:
    assert {batch.clean.device, batch.siblings_other.device, batch.region.device, batch.overall.device} == {META}
    assert batch.stems == ("vocals", "drums")


def test_the_restoration_loss_stays_on_its_device(batch: Batch) -> None:
    task = RestorationTask(new_model().to(META), None, lambda folder: None)
    loss, _ = task.loss(batch, torch.Generator())
    assert loss.device == META
    loss.backward()
    assert all(p.grad is None or p.grad.device == META for p in task.trainable().parameters())
    task.validate(batch)


@pytest.mark.parametrize("base", [None, new_model()], ids=["simulated", "base"])
def test_the_vocoder_loss_stays_on_its_device(
    batch: Batch, base: RestorationModel | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch.istft looks at values, of which there are none.
    monkeypatch.setattr("stemprover.training.vocoder.istft", lambda spectrum, n: spectrum.real.new_zeros(2, n))
    task = VocoderTask(EmbeddedVocoder(dim=16, depth=1).to(META), base, lambda folder: None)
    for seed in range(4):  # with a base, most draws take its magnitudes and some simulated ones
        loss, _ = task.loss(batch, torch.Generator().manual_seed(seed))
        assert loss.device == META
    task.validate(batch)
