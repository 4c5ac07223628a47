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
from torch import nn
from torch.nn import functional

from stemprover.errors import ModelError
from stemprover.plugins.hashing import folder_sha256
from stemprover.restoration.control import CONTROL_CHANNELS
from stemprover.restoration.controlnet import RestorationControlNet
from stemprover.restoration.model import RestorationModel
from stemprover.restoration.pipeline import StemRestorationPipeline
from stemprover.spectral.spec import SPEC

__all__ = ["EMBEDDED_BASE", "forget_origin", "grown", "load_base", "load_pipeline", "save_base"]

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
                str(source), dtype=dtype, use_safetensors=True, revision=revision
            )
    except (OSError, ValueError, AttributeError) as error:
        fix = "pass a diffusers folder or hub id that holds a StemProver pipeline"
        raise ModelError("a restoration base", f"{source}: {error}", fix) from error
    if not isinstance(pipeline, StemRestorationPipeline):
        fix = "convert it: StemRestorationPipeline(unet, controlnet, scheduler, vae=...).save_pretrained(folder)"
        raise ModelError("a StemRestorationPipeline", type(pipeline).__name__, fix)
    if pipeline.vae is None:
        grown(pipeline.controlnet)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.controlnet.to(memory_format=torch.channels_last)
    return pipeline


def grown(controlnet: RestorationControlNet) -> RestorationControlNet:
    """Let a ControlNet that knew fewer control channels take all of them, in place, and do what it did.

    Channels are only ever added at the end; what comes later than the weights is given weights of zero.

    Raises
    ------
    ModelError
        If it knows more channels than there are: it is of a later version.
    """
    old, wanted = controlnet.controlnet_cond_embedding, len(CONTROL_CHANNELS) * SPEC.patch**2
    if old.in_channels > wanted:
        got = f"one with {old.in_channels // SPEC.patch**2}"
        raise ModelError(f"a base with up to {len(CONTROL_CHANNELS)} control channels", got, "update stemprover")
    if old.in_channels < wanted:
        new = nn.Conv2d(wanted, old.out_channels, 1).to(old.weight)
        padded = functional.pad(old.weight, (0, 0, 0, 0, 0, wanted - old.in_channels))
        new.load_state_dict({"weight": padded, "bias": old.bias})
        controlnet.controlnet_cond_embedding = new
        controlnet.register_to_config(conditioning_channels=wanted)
    return controlnet


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
