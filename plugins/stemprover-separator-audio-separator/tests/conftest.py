"""Small models for the tests, each stored once; without audio-separator what needs them is skipped."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_models import store
from stemprover_separator_audio_separator.models import MODELS
from stemprover_separator_audio_separator.separator import AudioSeparator


@pytest.fixture(name="stored", scope="session")
def stored_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """What returns the folder of a small model by the separator's name."""
    pytest.importorskip("audio_separator.separator", reason="needs audio-separator: make test-audio-separator")

    @functools.cache
    def stored(name: str) -> Path:
        if name == "mdx_inst_hq3" and importlib.util.find_spec("torchvision") is None:
            _import_onnx2torch()
        folder = tmp_path_factory.mktemp(name)
        store(name, folder)
        return folder

    return stored


def _import_onnx2torch() -> None:
    """Import it without torchvision.

    It needs that for two kinds of nodes that MDX-Net does not have; audio-separator imports it for segments of other
    lengths than the model's.
    """
    with pytest.MonkeyPatch.context() as without:
        for name in ("torchvision", "torchvision.ops"):
            without.setitem(sys.modules, name, types.ModuleType(name))
        without.setattr(sys.modules["torchvision.ops"], "roi_align", None, raising=False)
        importlib.import_module("onnx2torch")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail where the network is reached for, even if the error that this gives is survived."""
    reached: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        reached.append(arguments)
        raise OSError("tests reach no network")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    yield
    assert not reached


@pytest.fixture(name="small", params=MODELS)
def small_separator(request: pytest.FixtureRequest, stored: Callable[[str], Path]) -> AudioSeparator:
    """Each separator with a small model of audio-separator's own classes."""
    return AudioSeparator(request.param, stored(request.param))
