"""Load and save HiFi-GAN generators of transformers together with their mel front end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SpeechT5HifiGan
from transformers.utils import logging

from stemprover.errors import ModelError
from stemprover_vocoder_hifigan.mel import MelSpec, log_mel, spec_for

__all__ = ["ENVIRONMENT", "Generator", "load_generator", "save_generator"]

ENVIRONMENT = "STEMPROVER_HIFIGAN"
_MEL_KEY = "stemprover_mel"
_FIX = "name a folder or repository that SpeechT5HifiGan.save_pretrained wrote, or make one: stemprover train vocoder"


class Generator(nn.Module):
    """HiFi-GAN with its front end: audio at its own rate in, resynthesised audio out.

    Parameters
    ----------
    network : SpeechT5HifiGan
        The generator.
    mel : MelSpec
        What it was trained on.
    """

    def __init__(self, network: SpeechT5HifiGan, mel: MelSpec) -> None:
        super().__init__()
        self.network, self.mel = network, mel

    def forward(self, audio: Tensor) -> Tensor:
        """Resynthesise ``[batch, samples]`` from its log-mel spectrogram; same shape."""
        out: Tensor = self.network(log_mel(audio, self.mel))
        return out[:, : audio.shape[-1]]


def load_generator(source: str) -> Generator:
    """Load a generator in evaluation mode.

    Parameters
    ----------
    source : str
        A folder that ``SpeechT5HifiGan.save_pretrained`` or :func:`save_generator` wrote, or a hub repository as
        ``owner/name`` or ``owner/name@revision``. An empty one stands for the environment variable
        ``STEMPROVER_HIFIGAN``.

    Raises
    ------
    ModelError
        If there are no safetensors weights, or they are not those of a SpeechT5HifiGan, all of them.
    """
    source = source or os.environ.get(ENVIRONMENT, "")
    if not source:
        raise ModelError(
            "HiFi-GAN weights",
            "none named",
            f"use --vocoder hifigan:FOLDER or hifigan:OWNER/NAME, or set {ENVIRONMENT}",
        )
    local = Path(source).expanduser()
    place, _, revision = (str(local), "", "") if local.is_dir() else source.partition("@")
    if not local.is_dir() and (place.count("/") != 1 or place.startswith((".", "/", "~"))):
        raise ModelError("a folder or a hub repository OWNER/NAME", source, "check the path")
    network = _load(place, revision or "main", source)
    return Generator(network.eval(), mel_spec(network, place, local.is_dir(), revision))


def _load(place: str, revision: str, source: str) -> SpeechT5HifiGan:
    """Load strictly: transformers initialises what is missing at random and only logs that."""
    try:
        with _quiet():
            network, report = SpeechT5HifiGan.from_pretrained(
                place,
                revision=revision,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
    except Exception as error:  # transformers, huggingface_hub and safetensors share no error class
        reason = str(error).strip().partition("\n")[0]
        raise ModelError("a SpeechT5HifiGan with safetensors weights", f"{source} ({reason})", _FIX) from error
    misfits = sorted(str(key) for kind in ("missing", "unexpected", "mismatched") for key in report[f"{kind}_keys"])
    if misfits:
        raise ModelError(
            "the weights of this SpeechT5HifiGan", f"{len(misfits)} misfits in {source}, first {misfits[0]}", _FIX
        )
    return network


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from writing bars and reports to the terminal; what it knows arrives as a report."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def save_generator(generator: Generator, folder: Path) -> None:
    """Write weights and configuration (``save_pretrained``), the mel front end included."""
    setattr(generator.network.config, _MEL_KEY, dataclasses.asdict(generator.mel))
    with _quiet():
        generator.network.save_pretrained(folder)


def mel_spec(network: SpeechT5HifiGan, place: str, local: bool, revision: str = "") -> MelSpec:
    """Find the front end: in the configuration, else in SpeechT5's ``preprocessor_config.json``, else by the rates."""
    config = network.config
    stated: dict[str, Any] = getattr(config, _MEL_KEY, None) or _speecht5(_preprocessor(place, local, revision))
    hop = math.prod(config.upsample_rates)
    return spec_for(config.sampling_rate, hop, config.model_in_dim, stated)


def _preprocessor(place: str, local: bool, revision: str) -> dict[str, Any]:
    path: Path | None = Path(place) / "preprocessor_config.json"
    if not local:
        from transformers.utils import cached_file

        found = cached_file(
            place, "preprocessor_config.json", revision=revision or "main", _raise_exceptions_for_missing_entries=False
        )
        path = Path(found) if found else None
    if path is None or not path.is_file():
        return {}
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def _speecht5(values: dict[str, Any]) -> dict[str, Any]:
    """Translate SpeechT5's names; its window is given in milliseconds."""
    if "win_length" not in values:
        return {}
    window = int(values["win_length"] * values.get("sampling_rate", 16000) // 1000)
    low, high, floor = values.get("fmin", 80), values.get("fmax", 7600), values.get("mel_floor", 1e-10)
    return {"window": window, "low_hz": low, "high_hz": high, "floor": floor, "base10": True}
