"""Base weights on disk: a diffusers folder plus ``base.json``, the identity that adapters are bound to."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.utils import logging

from stemprover.errors import ModelError
from stemprover.plugins.hashing import folder_sha256
from stemprover.restoration.model import RestorationModel
from stemprover.restoration.pipeline import StemRestorationPipeline
from stemprover.spectral.spec import SPEC

__all__ = ["EMBEDDED_BASE", "forget_origin", "load_base", "load_pipeline", "save_base"]

EMBEDDED_BASE = Path(__file__).parent.parent / "weights" / "base"


def save_base(model: RestorationModel, folder: Path, base_id: str = "stemprover-base-v1") -> None:
    """Write a pipeline folder in half precision and its ``base.json`` (id, SHA-256, spectral spec)."""
    half = copy.deepcopy(model).to(torch.float16)
    pipeline = StemRestorationPipeline(
        half.unet, half.controlnet, FlowMatchEulerDiscreteScheduler(), conditioner=half.conditioner
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    forget_origin(folder)
    identity = {"id": base_id, "sha256": folder_sha256(folder), "spectral_spec": SPEC.digest()}
    (folder / "base.json").write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")


def forget_origin(folder: Path) -> None:
    """Take out of saved configurations where the weights had been loaded from: that is nobody else's business."""
    for path in folder.rglob("*.json"):
        told = json.loads(path.read_text(encoding="utf-8"))
        if told.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_pipeline(
    base: str | Path | None = None, dtype: torch.dtype = torch.float32, revision: str | None = None
) -> StemRestorationPipeline:
    """Load a base from a diffusers folder or hub id (the embedded one by default).

    Raises
    ------
    ModelError
        If there is none, or if it is not a StemProver pipeline.
    """
    source = EMBEDDED_BASE if base is None else base
    try:
        with _without_bars():
            pipeline = DiffusionPipeline.from_pretrained(
                str(source), torch_dtype=dtype, use_safetensors=True, revision=revision
            )
    except (OSError, ValueError, AttributeError) as error:
        fix = "pass a diffusers folder or hub id that holds a StemProver pipeline"
        raise ModelError("a restoration base", f"{source}: {error}", fix) from error
    if not isinstance(pipeline, StemRestorationPipeline):
        fix = "convert it: StemRestorationPipeline(unet, controlnet, scheduler, vae=...).save_pretrained(folder)"
        raise ModelError("a StemRestorationPipeline", type(pipeline).__name__, fix)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.controlnet.to(memory_format=torch.channels_last)
    return pipeline


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """diffusers draws a bar per component on stderr; what is shown is for the caller to decide."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load_base(folder: Path | None = None) -> RestorationModel:
    """Load the networks of an embedded-style base in float32, for training."""
    return load_pipeline(folder).model
