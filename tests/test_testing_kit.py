"""What authors read and write with the conformance kit: metrics, pairs, the pytest plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from plugin_site import code_plugin
from plugin_site import plugin_site as plugin_site

from stemprover.errors import InputError
from stemprover.plugins import find, read_manifest
from stemprover.testing import read_audio_pairs
from stemprover.testing.metrics import write_metrics
from stemprover.testing.signals import in_format, music


def test_what_is_measured_goes_into_manifest_and_card(site: Path) -> None:
    folder = code_plugin(site, "clicks", "detector", "entry = 1\n")
    card = folder.parent / "README.md"
    card.write_text("# Card\n<!-- metrics -->\nNot measured yet.\n<!-- /metrics -->\n")
    write_metrics("clicks", {"found_share": 0.9, "benchmark": "3 own pairs"})
    write_metrics("clicks", {"found_share": 1.0})
    assert read_manifest(folder).metrics == {"found_share": 1.0, "benchmark": "3 own pairs"}
    assert "| `found_share` | 1 |" in card.read_text()
    assert find("clicks").status == "ok"


def test_pairs_are_read_from_folders_of_equal_names(tmp_path: Path) -> None:
    audio = in_format(music(0.2), "int16").T
    for role in ("clean", "artifact", "mixture"):
        (tmp_path / role).mkdir()
        soundfile.write(tmp_path / role / "song-vocals.wav", audio, 44_100)
    (pair,) = read_audio_pairs(tmp_path)
    assert (pair.name, pair.stem_class, pair.sample_rate) == ("song-vocals", "vocals", 44_100)
    assert pair.mixture is not None
    soundfile.write(tmp_path / "artifact" / "song-vocals.wav", audio[:-5], 44_100)
    with pytest.raises(InputError, match="as long as its clean file"):
        read_audio_pairs(tmp_path)
    (tmp_path / "artifact" / "song-vocals.wav").unlink()
    with pytest.raises(InputError, match="name both files alike"):
        read_audio_pairs(tmp_path)
    with pytest.raises(InputError, match="make them first"):
        read_audio_pairs(tmp_path / "nowhere")


def test_the_pytest_plugin_is_light_and_changes_no_other_suite(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert True\n")
    code = "import sys, pytest; pytest.main(['-q', '-p', 'no:cacheprovider']); "
    code += "heavy = {'torch', 'numpy', 'diffusers'} & set(sys.modules); "
    code += "import json; print(json.dumps([sorted(heavy), 'stemprover.testing.plugin' in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "1 passed" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == [[], True]
