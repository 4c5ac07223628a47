"""A repaired signal and what a run says about it, for the report's tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from stemprover.report import ReportInput
from stemprover.stems import Stem

RATE = 44_100
SECONDS = 4.0


def signal(seconds: float = SECONDS, rate: int = RATE, channels: int = 2) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    tones = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 5000 * time)
    return np.tile(tones, (channels, 1)) + 1e-4 * np.random.default_rng(0).standard_normal((channels, time.size))


def repaired(audio: np.ndarray, rate: int = RATE) -> np.ndarray:
    """Turn seconds 1 to 2 down, and leave every other sample alone."""
    result = audio.copy()
    result[:, rate : 2 * rate] *= 0.5
    return result


def item(artifact: str, start: float, end: float, low: float = 300.0, high: float = 6000.0, **more: Any) -> dict:
    return {"artifact": artifact, "start_s": start, "end_s": end, "low_hz": low, "high_hz": high, **more}


def summary(**more: Any) -> dict[str, Any]:
    found = {"confidence": 0.91, "severity": 0.4}
    left = item("hf-distortion", 2.5, 3.0, 9000.0, 20_000.0, **found)
    return {
        "version": "0.1.0",
        "input": "/home/someone/secret project/vocals.wav",
        "output": "/home/someone/secret project/vocals.enhanced.wav",
        "detections": [item("bleed/drums", 1.0, 2.0, **found), left],
        "plan": [item("bleed/drums", 1.0, 2.0, adapter="drumbleed", strength=0.8)],
        "unrepaired": [left | {"install": "pip install stemprover-lora-hfdistortion"}],
        "repaired_s": 1.0,
        "timings_s": {"detect": 0.5, "restore": 1.5, "total": 2.5},
        "settings": {"quality": "fast", "mixture": "/home/someone/secret project/song.wav", "adapters": []},
        **more,
    }


def report_input(with_after: bool = True, **more: Any) -> ReportInput:
    audio = signal()
    after = Stem.from_array(repaired(audio), RATE) if with_after else None
    lanes = {"bleed/drums": np.linspace(0, 1, 11, dtype=np.float32), "hf-distortion": np.zeros(11, np.float32)}
    return ReportInput(summary(**more), Stem.from_array(audio, RATE), after, lanes, 0.3715)
