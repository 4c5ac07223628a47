"""A stem set is repaired jointly: what is done to one stem depends on what the others hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemprover import Enhanced, Enhancer, Settings, Stem, StemSet

KIT = Path(__file__).parent.parent / "examples" / "east-bay"
RATE = 44_100
SECONDS = 4


def stem(name: str) -> Stem:
    audio, _ = soundfile.read(KIT / f"{name}.flac", frames=SECONDS * RATE, always_2d=True)
    return Stem.from_array(audio.T, RATE, name, name)


@pytest.fixture(name="enhancer", scope="module")
def embedded_enhancer() -> Enhancer:
    return Enhancer.from_pretrained(device="cpu")


def first_of(enhancer: Enhancer, *names: str) -> Enhanced:
    with StemSet(tuple(map(stem, names))) as stems:
        return enhancer.enhance_set(stems, Settings(auto_detect=True, quality="fast"))[0]


def test_a_sibling_changes_what_is_found_and_what_is_done(enhancer: Enhancer) -> None:
    alone, beside_snare, beside_kick = (first_of(enhancer, "hihat", *others) for others in ((), ("snare",), ("kick",)))
    again = first_of(enhancer, "hihat", "snare")
    assert np.array_equal(beside_snare.audio, again.audio), "nothing but the sibling makes a difference"
    sources = {item.artifact for item in beside_snare.plan.items}
    assert sources != {item.artifact for item in alone.plan.items} or beside_snare.plan != alone.plan
    assert beside_snare.plan != beside_kick.plan
    assert not np.array_equal(beside_snare.audio, alone.audio)
    assert not np.array_equal(beside_snare.audio, beside_kick.audio)
