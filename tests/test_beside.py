"""Folders beside audio that are passed by: named where somebody may miss them, at little cost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_batch_jobs import sound

from stemprover.batch.beside import folders_passed_by
from stemprover.batch.planning import Selection, plan_jobs


def test_folders_beside_the_stems_of_a_set_are_named(tmp_path: Path) -> None:
    """A loose file makes a folder of songs one set; who gets one result instead of a hundred must be told why."""
    songs = tmp_path / "songs"
    for name in (
        "demo.wav",
        "a/vocals.wav",
        "b/c/vocals.flac",
        ".hidden/vocals.wav",
        "d/old.enhanced.wav",
        "e/f/g/h.wav",
    ):
        sound(songs / name)
    sound(songs / "separated" / "vocals.wav")  # as clean leaves it
    (songs / "empty").mkdir()
    (songs / "link").symlink_to(songs / "a")
    assert folders_passed_by([str(songs), str(songs)], [str(songs)]) == {str(songs): ("a", "b")}
    for known, left in ((songs / "a", ("b",)), (songs / "b" / "c" / "vocals.flac", ("a",)), (songs / "x", ("a", "b"))):
        assert folders_passed_by([str(songs)], [str(known)]) == {str(songs): left}
    assert folders_passed_by(["memory://songs", str(songs / "a")], []) == {}
    (job,) = plan_jobs([str(songs)], Selection(), False).jobs
    assert len(job.stems) == 1


def test_folders_that_cannot_be_read_hide_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("demo.wav", "a/vocals.wav", "locked/vocals.wav"):
        sound(tmp_path / name)
    listdir = os.listdir

    def refused(folder: os.PathLike[str]) -> list[str]:
        if os.fspath(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied", os.fspath(folder))
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", refused)
    assert folders_passed_by([str(tmp_path)], []) == {str(tmp_path): ("a",)}
