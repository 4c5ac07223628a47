"""Stem classes and file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemprover.errors import OptionError
from stemprover.stems import STEM_CLASSES, Stem, guess_stem_class, is_mixture_name


def test_an_unknown_class_is_an_error_that_lists_the_classes(tmp_path: Path) -> None:
    with pytest.raises(OptionError) as caught:
        Stem.open(tmp_path / "a.wav", "tuba")
    assert all(known in str(caught.value) for known in STEM_CLASSES)


@pytest.mark.parametrize(
    ("name", "stem_class"),
    [
        ("song/vocals.wav", "vocals"),
        ("song/no_vocals.wav", "instrumental"),
        ("song/accompaniment.wav", "instrumental"),
        ("1_song_(Instrumental).wav", "instrumental"),
        ("song_(Vocals)_UVR-MDX-NET-Inst_HQ_3.flac", "vocals"),
        ("song_(Instrumental)_Kim_Vocal_2.wav", "instrumental"),
        ("Drum and Bass Anthem_(Vocals)_htdemucs.flac", "vocals"),
        ("song_vocals_split_by_lalalai.mp3", "vocals"),
        ("song-no_vocals.mp3", "instrumental"),
        ("Bass Down Low - LeadVocals02.wav", "vocals"),
        ("song_(No Drums).wav", "generic"),
        ("ref.hihat.mp3", "hihat"),
        ("Kick Drum.wav", "kick"),
        ("bass_guitar.wav", "bass"),
        ("hi-hat.wav", "hihat"),
        ("vocals/my song.wav", "vocals"),
        ("song/take 3.wav", "generic"),
        ("drumless.wav", "generic"),
        ("song/minus_bass.wav", "generic"),
        ("song/minus_vocals.wav", "instrumental"),
        ("song_no_drum_split_by_lalalai.mp3", "generic"),
        ("song without drums.wav", "generic"),
        ("song_(No Bass)_htdemucs.wav", "generic"),
        ("1_song_(No Vocals).wav", "instrumental"),
        ("song_(ride)_MDX23C-DrumSep-aufr33-jarredou.wav", "cymbals"),
        ("song_(crash)_MDX23C-DrumSep-aufr33-jarredou.wav", "cymbals"),
        ("song_(hh)_MDX23C-DrumSep-aufr33-jarredou.wav", "hihat"),
        ("song_(Woodwinds)_17_HP-Wind_Inst-UVR.wav", "generic"),
        ("song_(No Woodwinds)_17_HP-Wind_Inst-UVR.wav", "generic"),
        ("song_(No Echo)_UVR-De-Echo-Normal_vocals.wav", "generic"),
        ("Ride.wav", "cymbals"),
        ("Ride - take 3.wav", "generic"),
        ("song (Live)_vocals.wav", "vocals"),
        ("Mambo No. 5 - drums.wav", "drums"),
        ("song_Voc.wav", "vocals"),
        ("song_instr.wav", "instrumental"),
        ("song_mel_band_roformer_instrum.wav", "instrumental"),
        ("song_(Bass)_htdemucs_6s.wav", "bass"),
        ("song_(Other)_5stems.wav", "other"),
    ],
)
def test_classes_are_guessed_from_names(name: str, stem_class: str) -> None:
    assert guess_stem_class(name) == stem_class


@pytest.mark.parametrize("known", STEM_CLASSES)
def test_every_class_is_its_own_name(known: str) -> None:
    assert guess_stem_class(f"{known}.wav") == known


def test_mixture_names() -> None:
    assert all(is_mixture_name(name) for name in ("mix.wav", "Mixture.flac", "song_(mixture).wav", "song_mix.wav"))
    assert is_mixture_name("original.mp3")
    assert not any(
        is_mixture_name(name)
        for name in ("vocals.wav", "drum mix.wav", "Original Sin.wav", "song (Club Mix)_(Vocals).wav")
    )
