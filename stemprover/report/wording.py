"""Sentences and numbers as a reader sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from stemprover.report.axes import clock

__all__ = ["count", "file_name", "finding", "hertz", "seconds", "setting_rows", "without_folders"]

_AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".aiff", ".aif", ".ogg", ".mp3", ".safetensors"})


def file_name(path: object) -> str:
    """Last part of a POSIX or Windows path."""
    return PureWindowsPath(PurePosixPath(str(path)).name).name


def without_folders(value: object) -> str:
    """Text of a setting; of a path only the file name, because a page may be passed on."""
    text = str(value)
    looks_local = text.startswith(("/", "~", "./", "../", ".\\", "..\\")) or PureWindowsPath(text).drive
    is_audio = PurePosixPath(text).suffix.lower() in _AUDIO_SUFFIXES
    return file_name(text) if looks_local or is_audio else text


def count(number: int, noun: str) -> str:
    """``1 repair``, ``2 repairs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def seconds(value: float) -> str:
    """``8.4 s``, or minutes and seconds from one minute on."""
    return f"{value:.1f} s" if value < 60 else f"{clock(value)} min"


def hertz(value: float) -> str:
    """``250 Hz`` or ``4.2 kHz``."""
    return f"{value:.0f} Hz" if value < 1000 else f"{value / 1000:.1f} kHz".replace(".0 kHz", " kHz")


def _let_through(applied: Sequence[Mapping[str, Any]]) -> str:
    """How much of the repairs, and of second opinions, the gates let through, a mean over their time."""

    def mean(key: str) -> float | None:
        told = [(part[key], part["end_s"] - part["start_s"]) for part in applied if part.get(key) is not None]
        total = sum(length for _, length in told)
        return sum(share * length for share, length in told) / total if total else None

    share, opinion = mean("share"), mean("opinion")
    if share is None:
        return ""
    text = f", on average {share:.0%} of each let through by the gate"
    return text if opinion is None else f"{text}s ({opinion:.0%} of second opinions)"


def finding(summary: Mapping[str, Any], duration_s: float, repaired: bool) -> str:
    """What was found, in one sentence."""
    plan, left = len(summary.get("plan") or ()), len(summary.get("unrepaired") or ())
    found = len(summary.get("detections") or ())
    total = seconds(duration_s)
    untouched = "the stem is exactly as it was"
    if (summary.get("settings") or {}).get("mixture_consistent"):
        untouched = "the stem only took its share of what all leave of the mixture"
    if repaired and plan:
        text = f"{count(plan, 'repair')} planned, {seconds(summary.get('repaired_s') or 0.0)} of {total} repaired"
        text += _let_through(summary.get("applied") or ())
        if summary.get("repaired_s") == 0:
            text = f"{count(plan, 'repair')} planned in {total}, none worth making: {untouched}"
        return f"{text}; {count(left, 'region')} left as found." if left else f"{text}."
    if plan:
        return f"{count(plan, 'repair')} planned in {total}; nothing has been written yet."
    if left or found:
        tail = "; nothing was changed." if repaired or left else "."
        return f"{count(max(left, found), 'region')} found in {total}{tail}"
    return f"Nothing to repair in {total}{f': {untouched}' if repaired else ''}."


def _text(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(_text(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else without_folders(value)


def setting_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the settings, in words."""
    return [(str(key).replace("_", " "), _text(value)) for key, value in settings.items()]
