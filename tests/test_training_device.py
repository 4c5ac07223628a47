"""Losses put every tensor on the batch's device.

The device is torch's ``meta``: its tensors have shapes and no values, and like a GPU's they do not mix with the CPU's.
"""

from __future__ import annotations

import pytest
import torch

from stemprover.spectral.spec import SPEC
from stemprover.synthesis.embedded import EmbeddedVocoder
from stemprover.training.dataset import FRAMES, SAMPLES, Batch
from stemprover.training.processes import on_device
from stemprover.training.restoration import RestorationTask, new_model
from stemprover.training.vocoder import VocoderTask

META = torch.device("meta")


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> Batch:
    item, autocast = torch.Tensor.item, torch.autocast

    def of_meta(device: str, **options: bool) -> torch.autocast:
        assert device == "meta"
        return autocast("cpu", **options)  # meta has none

    monkeypatch.setattr(torch, "autocast", of_meta)
    monkeypatch.setattr(torch.Tensor, "item", lambda self: 0.0 if self.device == META else item(self))
    audio = [torch.randn(2, SAMPLES) for _ in range(5)]
    maps = [torch.rand(2, SPEC.n_bands, FRAMES) for _ in range(2)]
    here = Batch(*audio, *maps, ("vocals", "drums"), ("any", "bleed"), torch.rand(2))
    return on_device(here, META)


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


@pytest.mark.parametrize("with_base", [False, True], ids=["simulated", "base"])
def test_the_vocoder_loss_stays_on_its_device(batch: Batch, with_base: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch.istft looks at values, of which there are none.
    monkeypatch.setattr("stemprover.training.vocoder.istft", lambda spectrum, n: spectrum.real.new_zeros(2, n))
    base = new_model() if with_base else None
    task = VocoderTask(EmbeddedVocoder(dim=16, depth=1).to(META), base, lambda folder: None)
    for seed in range(4):  # with a base, most draws take its magnitudes and some simulated ones
        loss, _ = task.loss(batch, torch.Generator().manual_seed(seed))
        assert loss.device == META
    task.validate(batch)
