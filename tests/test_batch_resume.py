"""Batches that are repeated: done means done, and nothing that somebody else wrote is touched."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from batches import RATE, SETTINGS, TinyLoader, batch, digests, takes
from tiny_base import tiny_base as tiny_base
from tiny_base import tiny_model

from stemprover.batch.engines import Engine
from stemprover.batch.fingerprint import job_fingerprint, weights_fingerprint
from stemprover.batch.orders import Order
from stemprover.batch.planning import Selection, plan_jobs
from stemprover.enhanced import Settings
from stemprover.restoration.weights import save_base


def statuses(*arguments: object, **options: object) -> list[str]:
    return [outcome.status for outcome in batch(*arguments, resume=True, **options)]  # type: ignore[arg-type]


@pytest.fixture(name="done")
def finished_batch(base: Path, tmp_path: Path) -> tuple[list[Path], Path]:
    """Inputs and the folder of their results."""
    inputs, clean = takes(tmp_path / "in", 2), tmp_path / "clean"
    assert [outcome.status for outcome in batch(base, inputs, clean)] == ["done", "done"]
    assert set(digests(clean)) == {f"take{n}.{kind}" for n in (0, 1) for kind in ("wav", "report.json")}
    return inputs, clean


def dates(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_done_means_done(base: Path, done: tuple[list[Path], Path]) -> None:
    inputs, clean = done
    before = dates(clean)
    assert statuses(base, inputs, clean) == ["resumed", "resumed"]
    for path in inputs:
        os.utime(path, (1, 1))  # another date, the same content
    assert statuses(base, inputs, clean, engine=Engine(workers=2)) == ["resumed", "resumed"]
    assert dates(clean) == before


def test_another_content_is_another_job(base: Path, done: tuple[list[Path], Path]) -> None:
    inputs, clean = done
    old = digests(clean)
    takes(inputs[0].parent / "new", 2)[1].replace(inputs[0])
    assert statuses(base, inputs, clean) == ["done", "resumed"]
    new = digests(clean)
    assert new["take0.wav"] == old["take1.wav"]
    assert new["take1.wav"] == old["take1.wav"]


def test_another_content_of_the_same_size_and_date_is_another_job(base: Path, done: tuple[list[Path], Path]) -> None:
    inputs, clean = done
    status = inputs[0].stat()
    other = inputs[1].read_bytes()
    assert len(other) == status.st_size
    inputs[0].write_bytes(other)
    os.utime(inputs[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert statuses(base, inputs, clean) == ["done", "resumed"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"strength": 0.5}, {"quality": "balanced"}, {"vocoder": "embedded"}])
def test_other_settings_are_another_job(base: Path, done: tuple[list[Path], Path], change: dict[str, object]) -> None:
    settings: Settings = dataclasses.replace(SETTINGS, **change)  # type: ignore[arg-type]
    inputs, clean = done
    old = digests(clean)
    assert statuses(base, inputs[:1], clean, settings=settings) == ["done"]
    assert digests(clean)["take0.wav"] != old["take0.wav"]
    assert statuses(base, inputs[:1], clean, settings=settings) == ["resumed"]


def test_where_a_vocoders_folder_lies_is_no_other_job_but_what_it_holds_is(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers on a cluster are told the absolute path: what one engine has done is done for the other."""
    monkeypatch.chdir(tmp_path)
    for folder, content in {"one": "weights", "two": "weights", "three": "others"}.items():
        Path(folder).mkdir()
        Path(folder, "weights.safetensors").write_text(content)
    job = plan_jobs([str(path) for path in takes(tmp_path / "in", 1)], Selection(), overwrite=None).jobs[0]
    enhancer = TinyLoader(base)("cpu")

    def fingerprint(vocoder: str, elsewhere: bool = False, inside: str = ".") -> str:
        monkeypatch.chdir(tmp_path / inside)
        settings = dataclasses.replace(SETTINGS, vocoder=vocoder)
        order = Order(settings, TinyLoader(base), weights=weights_fingerprint(enhancer, settings), record=True)
        return job_fingerprint(job, {job.stems[0]: ("", "")}, (order.everywhere() if elsewhere else order).terms(job))

    found = fingerprint("hifigan:one")
    assert found == fingerprint("hifigan:one", elsewhere=True) == fingerprint("hifigan:two")
    assert found == fingerprint("hifigan:.", inside="one")
    others = [fingerprint(vocoder) for vocoder in ("hifigan:three", "hifigan", "hifigan:owner/name", "other:one")]
    assert len({found, *others}) == 1 + len(others)


def test_other_weights_are_another_job(base: Path, done: tuple[list[Path], Path], tmp_path: Path) -> None:
    inputs, clean = done
    save_base(tiny_model(2.0), tmp_path / "other", "tiny")
    assert statuses(tmp_path / "other", inputs, clean) == ["done", "done"]


def test_what_a_result_depends_on(base: Path) -> None:
    enhancer = TinyLoader(base)("cpu")
    first = weights_fingerprint(enhancer, SETTINGS)
    assert weights_fingerprint(TinyLoader(base)("cpu"), SETTINGS) == first
    assert weights_fingerprint(enhancer, dataclasses.replace(SETTINGS, vocoder="embedded")) != first
    detector = dataclasses.replace(enhancer.plugins[0], name="other", kind="detector", status="ok", version="1")
    enhancer.plugins = (*enhancer.plugins, detector)
    assert weights_fingerprint(enhancer, SETTINGS) != first
    enhancer.plugins = (*enhancer.plugins[:-1], dataclasses.replace(detector, kind="vocoder"))
    assert weights_fingerprint(enhancer, SETTINGS) == first  # one that is not used


@pytest.mark.parametrize("name", ["take0.wav", "take0.report.json"])
def test_a_result_that_is_gone_is_made_again(base: Path, done: tuple[list[Path], Path], name: str) -> None:
    inputs, clean = done
    old = digests(clean)
    (clean / name).unlink()
    assert statuses(base, inputs, clean) == ["done", "resumed"]
    assert digests(clean)["take0.wav"] == old["take0.wav"]


def test_a_result_that_somebody_edited_is_kept(base: Path, done: tuple[list[Path], Path]) -> None:
    inputs, clean = done
    with (clean / "take0.wav").open("ab") as file:
        file.write(b"a note of mine")
    mine = (clean / "take0.wav").read_bytes()
    first, second = batch(base, inputs, clean, resume=True)
    assert (first.status, second.status) == ("failed", "resumed")
    assert "changed since" in first.error
    assert (clean / "take0.wav").read_bytes() == mine
    # As long as before, and other settings: then its content tells.
    (clean / "take1.wav").write_bytes(bytes(len((clean / "take1.wav").read_bytes())))
    (again,) = batch(base, inputs[1:], clean, resume=True, settings=dataclasses.replace(SETTINGS, seed=3))
    assert "changed since" in again.error
    assert [outcome.status for outcome in batch(base, inputs, clean, resume=True, overwrite=True)] == [
        "done",
        "resumed",
    ]
    assert (clean / "take0.wav").read_bytes() != mine


def test_a_file_of_somebody_else_is_never_replaced(base: Path, tmp_path: Path) -> None:
    inputs, clean = takes(tmp_path / "in", 2), tmp_path / "clean"
    clean.mkdir()
    (clean / "take0.wav").write_text("mine")
    first, second = batch(base, inputs, clean, resume=True)
    assert (first.status, second.status) == ("failed", "done")
    assert "another file there" in first.error
    assert (clean / "take0.wav").read_text() == "mine"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 99}', b"\xff"])
def test_a_state_that_cannot_be_read_is_none(base: Path, done: tuple[list[Path], Path], damage: bytes) -> None:
    inputs, clean = done
    before = digests(clean)
    (clean / ".stemprover" / "take0.wav.json").write_bytes(damage)
    first, second = batch(base, inputs, clean, resume=True)
    assert (first.status, second.status) == ("failed", "resumed")
    assert digests(clean) == before


def test_states_say_what_was_read_and_written(done: tuple[list[Path], Path]) -> None:
    inputs, clean = done
    state = json.loads((clean / ".stemprover" / "take0.wav.json").read_text())
    assert set(state["contents"]) == {str(inputs[0])}
    assert state["files"]["take0.wav"][0] == (clean / "take0.wav").stat().st_size
    assert (clean / "take0.wav").stat().st_size > RATE


def test_long_names_have_states_too(base: Path, tmp_path: Path) -> None:
    source = takes(tmp_path / "in", 1)[0]
    long = source.rename(source.with_name("ü" * 110 + ".wav"))  # with ".json" too long for a file system
    assert statuses(base, [long], tmp_path / "clean") == ["done"]
    assert statuses(base, [long], tmp_path / "clean") == ["resumed"]


def test_a_job_that_fails_leaves_no_state_and_brings_none_out_of_step(
    base: Path, done: tuple[list[Path], Path]
) -> None:
    inputs, clean = done
    states = {path: json.loads(path.read_text()) for path in clean.glob(".stemprover/*")}
    good = inputs[0].read_bytes()
    inputs[0].write_bytes(good[:1000])
    fresh = takes(inputs[0].parent / "more", 3)[2]
    fresh.write_bytes(good[:1000])
    outcomes = batch(base, [inputs[0], fresh], clean, resume=True)
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert {path: json.loads(path.read_text()) for path in clean.glob(".stemprover/*")} == states
    inputs[0].write_bytes(good)
    assert statuses(base, inputs, clean) == ["resumed", "resumed"]
