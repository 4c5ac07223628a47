"""Stems: reading, checking, naming, grouping and writing audio files."""

from __future__ import annotations

from stemprover.stems.alignment import Offset, find_offsets
from stemprover.stems.folders import audio_files, is_audio_name, is_unread_audio
from stemprover.stems.formats import AudioFormat, check_output_name, default_suffix, output_format
from stemprover.stems.names import (
    STEM_CLASSES,
    check_stem_class,
    guess_stem_class,
    is_mixture_name,
    songs_by_title,
    titled_mixture,
)
from stemprover.stems.samples import from_difference, limit_difference, resample
from stemprover.stems.sets import StemSet, members
from stemprover.stems.stem import Stem
from stemprover.stems.together import written_together
from stemprover.stems.writer import Writer

__all__ = [
    "STEM_CLASSES",
    "AudioFormat",
    "Offset",
    "Stem",
    "StemSet",
    "Writer",
    "audio_files",
    "check_output_name",
    "check_stem_class",
    "default_suffix",
    "find_offsets",
    "from_difference",
    "guess_stem_class",
    "is_audio_name",
    "is_mixture_name",
    "is_unread_audio",
    "limit_difference",
    "members",
    "output_format",
    "resample",
    "songs_by_title",
    "titled_mixture",
    "written_together",
]
