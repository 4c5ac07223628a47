"""The tutorial from end to end on real audio: song, separator, joint repair, evaluation, comparison.

With ``../shared/data`` the song is the tutorial's own; else the bundled drum kit stands in for it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from PIL import Image

from stemprover import Enhancer, Settings, StemSet
from stemprover.evaluation import si_sdr
from stemprover.separation.embedded import EmbeddedSeparator

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"
KIT = ROOT / "examples" / "east-bay"
RATE = 44_100

LEAST_MEAN_GAIN_DB = 0.0
"""The mean SI-SDR of the tutorial's song must rise by more than this from separated to clean stems."""


@pytest.fixture(name="tutorial", scope="module")
def tutorial_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial", ROOT / "docs" / "tutorial.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(tutorial: ModuleType, folder: Path) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """Run the page's commands in a folder with ``song.flac`` and ``true/``, and check everything that they leave."""
    measured = tutorial.scores(tutorial.run(folder))
    names = EmbeddedSeparator().stems
    assert set(measured) == {"stems", "clean"}
    song = soundfile.read(folder / "song.flac")[0]
    for part in ("stems", "clean"):
        assert set(measured[part]) == set(names)
        stems = {name: soundfile.read(folder / part / "song" / f"{name}.wav")[0] for name in names}
        assert all(audio.shape == song.shape and np.isfinite(audio).all() for audio in stems.values())
        left = np.square(song - sum(stems.values())).sum() / np.square(song).sum()
        assert left < {"stems": 1e-9, "clean": 0.5}[part], "separated stems sum to the song, clean ones hold most of it"
    for name in names:
        assert (folder / "clean" / "song" / f"{name}.report.html").stat().st_size > 100_000
    for name in ("found.png", "drums.png"):
        assert np.asarray(Image.open(folder / name).convert("L")).std() > 10
    assert (folder / "drums.html").stat().st_size > 100_000
    return measured


def mean_gain(measured: Mapping[str, Mapping[str, Mapping[str, float]]]) -> float:
    """Mean gain of SI-SDR over the stems that are not silent in truth, dB."""
    heard = [name for name, found in measured["stems"].items() if "si_sdr" in found]
    return float(np.mean([measured["clean"][name]["si_sdr"] - measured["stems"][name]["si_sdr"] for name in heard]))


@pytest.mark.timeout(600)
def test_the_bundled_kit_gets_better() -> None:
    """What ``make demo`` does: true stems ship with the separated ones.

    Together the repaired ones are nearer to their own, and none loses more than the 0.1 dB that promise 2 of the design
    allows. That each gains is no promise: with the seventh weights the snare, at 15.5 dB, loses 0.02 dB.
    """
    gains = {}
    with StemSet.open(KIT) as stems:
        for enhanced in Enhancer.from_pretrained().enhance_set(stems, Settings(auto_detect=True)):
            separated, true = (
                soundfile.read(folder / f"{enhanced.stem.name}.flac")[0].T for folder in (KIT, KIT / "reference")
            )
            gains[enhanced.stem.name] = si_sdr(true, enhanced.audio) - si_sdr(true, separated)
    assert set(gains) == {"kick", "snare", "hihat"}
    assert min(gains.values()) > -0.1, gains
    assert np.mean(list(gains.values())) > 0.05, gains


@pytest.mark.timeout(900)
def test_the_tutorial_runs_on_a_fresh_machine(tutorial: ModuleType, tmp_path: Path) -> None:
    """The bundled kit: everything but its sum is silent, or belongs to the drums or the rest."""
    samples = 2 * RATE
    parts = {path.stem: soundfile.read(path, frames=samples)[0] for path in (KIT / "reference").iterdir()}
    (tmp_path / "true").mkdir()
    soundfile.write(tmp_path / "song.flac", sum(parts.values()), RATE, "PCM_24")
    for name in EmbeddedSeparator().stems:
        audio = sum(parts.values()) if name == "drums" else np.zeros((samples, 2))
        soundfile.write(tmp_path / "true" / f"{name}.flac", audio, RATE, "PCM_24")
    measured = check(tutorial, tmp_path)
    assert measured["stems"]["drums"]["si_sdr"] > 3.0
    assert all("silence_level" in found for name, found in measured["clean"].items() if name != "drums")


@pytest.mark.timeout(1200)
@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "multitrack").is_dir(), reason="needs ../shared/data")
def test_the_mean_of_the_tutorials_song_rises_and_the_page_says_by_how_little(
    tutorial: ModuleType, tmp_path: Path
) -> None:
    """On the page's own 20 s of one song, its loudest, the mean SI-SDR over stems is higher after the repair.

    That is all: it rose by 0.004 dB when this was written, which nobody hears, because stems as poor as these are
    mostly left alone. It is not asserted that each stem gains, nor that another stretch or song does: on 12 s that
    this test used before, the mean fell by 0.014 dB, and bass, which is silent in truth and has no SI-SDR, gets 0.1 dB
    louder.
    What the page says of the mean must fit what is measured here.
    """
    measured = check(tutorial, tutorial.prepare(tmp_path / "song", SHARED))
    for part in ("stems", "clean"):
        assert all(-30.0 < found["si_sdr"] < 100.0 for found in measured[part].values() if "si_sdr" in found)
    assert mean_gain(measured) > LEAST_MEAN_GAIN_DB
    verdict = tutorial._verdict(mean_gain(measured)).strip()
    assert verdict in tutorial.PAGE.read_text(encoding="utf-8"), "run docs/tutorial.py"
