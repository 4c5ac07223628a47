"""Bases of earlier and of later versions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_base import tiny_base as tiny_base
from tiny_base import tiny_condition, tiny_model
from torch import nn

from stemprover.errors import ModelError
from stemprover.restoration.control import CONTROL_CHANNELS, Condition
from stemprover.restoration.model import RestorationModel
from stemprover.restoration.weights import load_base, save_base
from stemprover.spectral.spec import SPEC


@pytest.fixture(scope="module")
def condition() -> Condition:
    return tiny_condition(2)


def knowing(channels: int) -> RestorationModel:
    """A tiny base of a version with so many control channels."""
    model = tiny_model()
    model.controlnet.controlnet_cond_embedding = nn.Conv2d(channels * SPEC.patch**2, 16, 1)
    model.controlnet.register_to_config(conditioning_channels=channels * SPEC.patch**2)
    return model


def test_a_base_that_knew_fewer_control_channels_is_loaded_and_does_what_it_did(
    condition: Condition, tmp_path: Path
) -> None:
    old = knowing(10)
    save_base(old, tmp_path)
    new = load_base(tmp_path)
    assert new.controlnet.config.conditioning_channels == len(CONTROL_CHANNELS) * SPEC.patch**2
    assert not new.controlnet.controlnet_cond_embedding.weight[:, 10 * SPEC.patch**2 :].any()
    before = dataclasses.replace(condition, control=condition.control[:, :10])
    with torch.no_grad():
        old = old.half().float()  # as it was saved
        tokens = old.tokens(before)
        did, does = old.residuals(before, tokens), new.residuals(condition, new.tokens(condition))
    for one, two in zip((*did[0], did[1]), (*does[0], does[1]), strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_a_base_of_a_later_version_is_refused(tmp_path: Path) -> None:
    save_base(knowing(len(CONTROL_CHANNELS) + 1), tmp_path)
    with pytest.raises(ModelError, match=r"up to 12 control channels, got one with 13; update stemprover"):
        load_base(tmp_path)
