"""The contract of adapters."""

from __future__ import annotations

from typing import ClassVar

import torch

from stemprover.enhance import AdapterChoice, Settings
from stemprover.restoration.control import Condition, control_image, phase_coherence
from stemprover.spectral.phase import band_features
from stemprover.spectral.spatial import spatial_features
from stemprover.spectral.spec import SPEC
from stemprover.spectral.stft import stft
from stemprover.testing.repairs import RepairContract, models_of
from stemprover.testing.signals import music

__all__ = ["LoraContract"]

_TOLERANCE = 1e-4
_SAMPLES = 63 * SPEC.hop  # 64 frames, which the networks can halve


class LoraContract(RepairContract):
    """An adapter acts through the host's whole way; see :class:`stemprover.testing.repairs.RepairContract`.

    class TestDrumbleed(LoraContract):
        plugin = "drumbleed"
        pairs = Path(__file__).parent.parent / "pairs"
    """

    kind: ClassVar[str] = "lora"

    def settings(self, strength: float = 1.0, seed: int = 0) -> Settings:
        """Return settings that use the adapter on a whole file."""
        choice = AdapterChoice(self.plugin, strength)
        return Settings(
            adapters=(choice,), quality="fast", strength=min(1.0, strength), seed=seed, second_opinion=False
        )

    def test_scale_zero_is_the_base(self) -> None:
        """Switched off after it was used, the adapter leaves not one bit behind in what the base computes."""
        models, condition = models_of(self.base), _condition(1)
        models.load_adapters([self.plugin], self.plugins())
        before = models.restore(condition, {}, [0], 1)
        assert models.restore(condition, {self.plugin: 1.0}, [0], 1).isfinite().all()
        assert torch.equal(models.restore(condition, {self.plugin: 0.0}, [0], 1), before)

    def test_alone_and_in_a_batch_it_does_the_same(self) -> None:
        """Segments that are repaired together do not influence each other, so that files may be cut anywhere."""
        models = models_of(self.base)
        models.load_adapters([self.plugin], self.plugins())
        scales, seeds = {self.plugin: 1.0}, [3, 4, 5]
        together = models.restore(_condition(3), scales, seeds, 1)
        for place, seed in enumerate(seeds):
            alone = models.restore(_condition(3, place), scales, [seed], 1)
            assert torch.allclose(alone[0], together[place], atol=_TOLERANCE, rtol=0.0)


def _condition(items: int, only: int | None = None) -> Condition:
    """Return what stage 1 knows of some segments of music, or of one of them."""
    audio = torch.stack(
        [torch.from_numpy(music(1.0, channels=1, seed=seed)[0, :_SAMPLES]).float() for seed in range(items)]
    )
    spectrum = stft(audio if only is None else audio[only : only + 1])
    features = band_features(spectrum, None)
    count = features.image.shape[0]
    severity = torch.full((count,), 0.5)
    control = control_image(
        features,
        spatial_features(spectrum, None, None, None, features),
        severity[:, None, None].expand_as(features.image),
    )
    names = ["generic"] * count, ["any"] * count
    return Condition(features.image.unsqueeze(1), control, phase_coherence(features), *names, severity)
