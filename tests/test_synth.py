"""Synthesised notes: in tune, within bounds, repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from stemprover.data.synth import DRUMS, RATE, VOICES, Note, envelope, render_drum, reverberate


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("hz", [55.0, 220.0, 880.0])
def test_every_voice_is_finite_bounded_and_repeatable(voice: str, hz: float):
    note = Note(hz, RATE, 0.8)
    first, second = (VOICES[voice](note, np.random.default_rng(1)) for _ in range(2))
    assert first.dtype == np.float32
    assert first.shape == (RATE,)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, VOICES[voice](note, np.random.default_rng(2)))
    assert 1e-3 < np.abs(first).max() < 30


@pytest.mark.parametrize("voice", ["additive", "pluck", "subtractive", "voice"])
@pytest.mark.parametrize("hz", [82.4, 196.0])
def test_harmonic_voices_are_in_tune(voice: str, hz: float):
    tone = VOICES[voice](Note(hz, 2 * RATE), np.random.default_rng(4))[RATE // 2 : RATE]
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(tone.size), 8 * RATE))
    candidates = np.arange(0.7 * hz, 1.45 * hz, 0.25)
    comb = [sum(spectrum[round(8 * k * f)] for k in range(1, 6)) for f in candidates]
    assert candidates[int(np.argmax(comb))] == pytest.approx(hz, rel=0.03)


def test_no_voice_aliases():
    tone = VOICES["subtractive"](Note(3000.0, RATE), np.random.default_rng(0))
    spectrum = np.square(np.abs(np.fft.rfft(tone * np.hanning(RATE))))
    assert spectrum[:2000].sum() < 1e-3 * spectrum.sum()


def test_envelope_starts_and_ends_at_nothing_even_for_short_notes():
    for samples in (200, RATE):
        curve = envelope(samples, 0.01, 0.1, 0.5, 0.08)
        assert curve[0] == 0.0
        assert curve[-1] < 0.02
        assert 0.9 < curve.max() <= 1.0


@pytest.mark.parametrize("piece", DRUMS)
def test_drums_decay(piece: str):
    hit = render_drum(piece, np.random.default_rng(0))
    third = len(hit) // 3
    assert np.isfinite(hit).all()
    assert np.square(hit[:third]).sum() > 3 * np.square(hit[-third:]).sum()


def test_a_kick_is_low_and_a_hihat_is_high():
    def centre(piece: str) -> float:
        hit = render_drum(piece, np.random.default_rng(0))
        power = np.square(np.abs(np.fft.rfft(hit)))
        return float((power * np.fft.rfftfreq(len(hit), 1 / RATE)).sum() / power.sum())

    assert centre("kick") < 500 < 4000 < centre("hihat")


def test_reverberation_adds_a_stereo_tail_to_a_click():
    click = np.zeros((2, RATE), np.float32)
    click[:, 0] = 1.0
    wet = reverberate(click, np.random.default_rng(0), 0.5, 0.5)
    assert np.square(wet[:, 1 : RATE // 2]).sum() == pytest.approx(0.5, rel=0.05)
    assert np.abs(wet[:, RATE // 2 :]).max() < 1e-6
    assert abs(np.corrcoef(wet[:, 1 : RATE // 2])[0, 1]) < 0.2
