"""What is sent to workers with other working folders, and what records depend on."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from batches import SETTINGS, TinyLoader
from tiny_base import tiny_base as tiny_base

from stemprover.batch.fingerprint import reference_versions, weights_fingerprint
from stemprover.batch.jobs import Job, Source, Target
from stemprover.batch.orders import Loader, Order
from stemprover.enhanced import Settings
from stemprover.plugins import Plugin
from stemprover.routing import AdapterChoice


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_files_of_a_job_mean_the_same_everywhere(tmp_path: Path) -> None:
    source = Source("song", "below", "out/{stem}.wav", "mix.wav")
    targets = (Target("out/a.wav", {"json": "out/a.json"}), Target("s3://b/c.wav", {"html": "s3://b/c.html"}))
    job = Job(source, ("song/a.wav", "s3://b/in.wav"), targets, "mix.wav", left_out=("b.m4a",))
    sent = job.everywhere()
    assert sent.source == source, "results are told by the name that the user gave"
    assert sent.stems == (f"{tmp_path}/song/a.wav", "s3://b/in.wav")
    assert sent.mixture == f"{tmp_path}/mix.wav"
    assert sent.targets[0] == Target(f"{tmp_path}/out/a.wav", {"json": f"{tmp_path}/out/a.json"})
    assert sent.targets[1] == targets[1]
    assert dataclasses.replace(sent, stems=job.stems, targets=job.targets, mixture=job.mixture) == job
    assert sent.everywhere() == sent
    assert dataclasses.replace(job, mixture=None).everywhere().mixture is None


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("embedded", "embedded"),
        ("hifigan:weights", "hifigan:{here}/weights"),
        ("hifigan:owner/name", "hifigan:owner/name"),
        ("hifigan:/no/such/folder", "hifigan:/no/such/folder"),
    ],
)
def test_folders_of_an_order_mean_the_same_everywhere(tmp_path: Path, given: str, sent: str) -> None:
    for name in ("weights", "base"):
        (tmp_path / name).mkdir()
    there = Order(Settings(vocoder=given), Loader("base", "bfloat16"), reference=Path("true")).everywhere()
    assert there.settings == Settings(vocoder=sent.format(here=tmp_path))
    assert there.new_enhancer == Loader(f"{tmp_path}/base", "bfloat16")
    assert there.reference == tmp_path / "true"
    assert there.everywhere() == there


def test_bases_of_a_hub_and_loaders_of_programs_stay_as_they_are(base: Path) -> None:
    assert Loader("owner/base").everywhere() == Loader("owner/base")
    assert Loader().everywhere() == Loader()
    own = TinyLoader(base)
    order = Order(SETTINGS, own).everywhere()
    assert order.new_enhancer is own
    assert order.reference is None


def test_the_true_stems_of_other_songs_have_no_say(tmp_path: Path) -> None:
    true = tmp_path / "true"
    true.mkdir()
    for name in ("vocals.wav", "bass.flac", "notes.txt"):
        (true / name).write_text("x")
    (true / "vocals").mkdir()
    stems = ("s3://b/vocals.wav", "/in/drums.wav")
    before = reference_versions(true, stems)
    assert [name for name, _ in before] == ["vocals.wav"]
    (true / "bass.flac").write_text("another")
    assert reference_versions(true, stems) == before
    os.utime(true / "vocals.wav", (1, 1))
    assert reference_versions(true, stems) != before
    assert reference_versions(true / "bass.flac", stems)[0][0] == "bass.flac"
    assert reference_versions(None, stems) == reference_versions(tmp_path / "nothing", stems) == []


def plugin(kind: str, version: str = "1", status: str = "ok") -> Plugin:
    return Plugin("acme", kind, version, status, "", (), (), "acme", "MIT", "")


@pytest.mark.parametrize(
    ("kind", "settings", "counts"),
    [
        ("detector", {}, True),
        ("lora", {}, True),
        ("hooks", {}, True),
        ("vocoder", {}, False),
        ("vocoder", {"vocoder": "acme"}, True),
        ("separator", {}, False),
        ("metric", {}, False),
        ("detector", {"auto_detect": False}, False),
        ("lora", {"auto_detect": False}, False),
        ("lora", {"auto_detect": False, "adapters": (AdapterChoice("acme", 1.0),)}, True),
    ],
)
def test_plugins_count_when_they_have_a_say(base: Path, kind: str, settings: dict[str, object], counts: bool) -> None:
    enhancer = TinyLoader(base)("cpu")
    chosen: Settings = dataclasses.replace(SETTINGS, **settings)  # type: ignore[arg-type]
    own = enhancer.plugins

    def fingerprint(*more: Plugin) -> str:
        enhancer.plugins = (*own, *more)
        return weights_fingerprint(enhancer, chosen)

    one = fingerprint(plugin(kind))
    assert (fingerprint(plugin(kind, "2")) != one) == counts
    assert (fingerprint() != one) == counts
    assert fingerprint(plugin(kind, status="disabled")) == fingerprint()
