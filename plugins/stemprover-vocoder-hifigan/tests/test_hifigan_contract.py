"""hifigan keeps what every vocoder promises, with a small random checkpoint; the kit of the host tries it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from stemprover.testing import VocoderContract


class TestHifiganVocoder(VocoderContract):
    """Random weights change every waveform, so a clean stem that is repaired from start to end changes much."""

    plugin = "hifigan"
    min_clean_sdr_db = -6.0

    @pytest.fixture(scope="class", autouse=True)
    def checkpoint(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        """Save a checkpoint and let the plugin find it as users do."""
        folder = tmp_path_factory.mktemp("hifigan")
        torch.manual_seed(0)
        config = SpeechT5HifiGanConfig(
            model_in_dim=20,
            sampling_rate=16_000,
            upsample_initial_channel=16,
            upsample_rates=[8, 8],
            upsample_kernel_sizes=[16, 16],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            initializer_range=0.2,
        )
        SpeechT5HifiGan(config).save_pretrained(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STEMPROVER_HIFIGAN", str(folder))
            yield
