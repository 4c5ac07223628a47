"""torchaudio's Hybrid Demucs, small and seeded, through the code that loads the real one."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stemprover_separator_torchaudio import hdemucs
from stemprover_separator_torchaudio.hdemucs import HybridDemucs, find_bundle

from stemprover.errors import PluginError
from stemprover.plugins import read_manifest
from stemprover.separation.base import Separator

PACKAGE = Path(hdemucs.__file__).parent
NAMES = ("hdemucs_high_musdb", "hdemucs_high_musdb_plus")
RATE = 44_100


def noise(seconds: float, level: float = 0.1) -> torch.Tensor:
    return level * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_manifest_and_separator_say_the_same(name: str) -> None:
    manifest = read_manifest(PACKAGE / name)
    separator = HybridDemucs(name)
    assert isinstance(separator, Separator)
    assert (manifest.name, manifest.stems, manifest.sample_rate) == (separator.name, separator.stems, RATE)
    assert manifest.download_size_mb > 300
    assert manifest.license == "Apache-2.0 AND MIT"


def test_nothing_heavy_is_imported_to_build_a_separator() -> None:
    program = (
        "import sys; import stemprover_separator_torchaudio.hdemucs_high_musdb\n"
        "assert not {'torch', 'torchaudio', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def line_of(folder: Path, code: str) -> str:
    """What is said where the package torchaudio in ``folder`` runs ``code`` when it is imported."""
    (folder / "torchaudio").mkdir()
    (folder / "torchaudio" / "__init__.py").write_text(code)
    program = (
        f"import sys, json; sys.path.insert(0, {str(folder)!r})\n"
        "from stemprover.errors import PluginError\n"
        "from stemprover_separator_torchaudio.hdemucs import find_bundle\n"
        "try: find_bundle('hdemucs_high_musdb')\n"
        "except PluginError as error: print(json.dumps(str(error)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    line: str = json.loads(found.stdout)
    return line


def test_a_missing_torchaudio_is_one_line(tmp_path: Path) -> None:
    line = line_of(tmp_path, "raise ModuleNotFoundError('No module named torchaudio')")
    assert "run: pip install torchaudio" in line
    assert "\n" not in line


def test_a_torchaudio_for_another_torch_is_one_line(tmp_path: Path) -> None:
    line = line_of(tmp_path, "raise OSError('Could not load this library: /x/_torchaudio.abi3.so\\nmore')")
    assert "a broken one (Could not load this library" in line
    assert f"built for torch {torch.__version__}" in line
    assert "\n" not in line


@pytest.fixture(name="small")
def small_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HybridDemucs:
    """A separator whose bundle is torchaudio's own class with a small network, its weights in the hub folder."""
    try:
        find_bundle(NAMES[0])
    except PluginError as error:
        pytest.skip(str(error))
    import torchaudio
    from torchaudio.models import HDemucs
    from torchaudio.pipelines import SourceSeparationBundle

    make = functools.partial(HDemucs, sources=["drums", "bass", "other", "vocals"], channels=4, nfft=4096, depth=6)
    torch.manual_seed(0)
    key = "models/small_hdemucs.pt"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = Path(torch.hub.get_dir()) / "torchaudio" / key
    path.parent.mkdir(parents=True)
    torch.save(make().state_dict(), path)
    bundle = SourceSeparationBundle(_model_path=key, _model_factory_func=make, _sample_rate=RATE)
    monkeypatch.setattr(torchaudio.pipelines, "HDEMUCS_HIGH_MUSDB", bundle)
    return HybridDemucs(NAMES[0])


def test_stems_have_the_mixture_s_shape_and_level(small: HybridDemucs) -> None:
    audio = noise(3.0)
    found = small.separate(audio)
    assert tuple(found) == small.stems
    assert all(part.shape == audio.shape and part.isfinite().all() for part in found.values())
    louder = small.separate(4.0 * audio)
    for name, part in found.items():
        assert torch.allclose(louder[name], 4.0 * part, atol=1e-4 * float(louder[name].abs().max()))


def test_silence_stays_silent(small: HybridDemucs) -> None:
    assert all(not part.any() for part in small.separate(torch.zeros(2, RATE)).values())


def test_weights_are_the_file_s(small: HybridDemucs) -> None:
    first = small.network.state_dict()
    path = next(Path(torch.hub.get_dir()).rglob("*.pt"))
    stored = torch.load(path, weights_only=True)
    assert all(torch.equal(stored[key], value) for key, value in first.items())
    assert sum(value.numel() for value in stored.values()) > 100_000


def test_damaged_weights_are_one_line(small: HybridDemucs) -> None:
    path = next(Path(torch.hub.get_dir()).rglob("*.pt"))
    state = torch.load(path, weights_only=True)
    state.popitem()
    torch.save(state, path)
    with pytest.raises(PluginError, match="weights of hdemucs_high_musdb") as caught:
        small.separate(noise(1.0))
    assert "\n" not in str(caught.value)
