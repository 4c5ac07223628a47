"""The pipeline class on a base of Stable Diffusion 1.5's parts: tiny random components, saved and loaded from disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DiffusionPipeline,
    PNDMScheduler,
    UNet2DConditionModel,
)
from tiny_base import tiny_condition
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from stemprover.restoration.pipeline import StemRestorationPipeline
from stemprover.restoration.weights import load_pipeline
from stemprover.spectral.spec import SPEC

WIDTHS = (16, 16, 16, 16)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer that knows letters only."""
    letters = "abcdefghijklmnopqrstuvwxyz-/,"
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def text_encoder(words: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return CLIPTextModel(config).eval()


def autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=WIDTHS,
        latent_channels=4,
        norm_num_groups=4,
    ).eval()


def make(folder: Path, scheduler: DDIMScheduler | PNDMScheduler) -> StemRestorationPipeline:
    torch.manual_seed(0)
    common = {
        "in_channels": 4,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    up = ("UpBlock2D", "CrossAttnUpBlock2D")
    words = tokenizer(folder)
    return StemRestorationPipeline(
        UNet2DConditionModel(sample_size=8, out_channels=4, up_block_types=up, **common).eval(),
        ControlNetModel(**common).eval(),
        scheduler,
        vae=autoencoder(),
        text_encoder=text_encoder(words),
        tokenizer=words,
    )


@pytest.mark.parametrize(
    "scheduler", [DDIMScheduler(**BETAS, clip_sample=False), PNDMScheduler(**BETAS, skip_prk_steps=True)], ids=type
)
def test_base_of_stable_diffusion_parts_survives_the_disk_and_runs(
    tmp_path: Path, scheduler: DDIMScheduler | PNDMScheduler
) -> None:
    made = make(tmp_path / "tokenizer", scheduler)
    made.set_progress_bar_config(disable=True)
    made.save_pretrained(tmp_path / "base", safe_serialization=True)
    loaded = DiffusionPipeline.from_pretrained(tmp_path / "base")
    assert type(loaded) is StemRestorationPipeline
    assert type(loaded.scheduler) is type(scheduler)
    condition = tiny_condition(2)
    for steps in (1, 4):
        restored = loaded(condition, steps, [1, 2])
        assert restored.shape == (2, SPEC.n_bands, 32)
        assert torch.isfinite(restored).all()
        assert torch.equal(restored, made(condition, steps, [1, 2]))
    assert type(load_pipeline(tmp_path / "base")) is StemRestorationPipeline


def test_stem_class_and_artifact_reach_it_as_a_prompt(tmp_path: Path) -> None:
    pipeline = make(tmp_path / "tokenizer", DDIMScheduler(**BETAS, clip_sample=False))
    condition = tiny_condition(2)
    vocals = pipeline(condition, 2, [1, 2])
    condition.stems[0] = "drums"
    drums = pipeline(condition, 2, [1, 2])
    assert not torch.equal(vocals[0], drums[0])
    assert torch.allclose(vocals[1], drums[1], atol=1e-6)
