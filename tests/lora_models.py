"""Small restoration models for the tests of LoRA: one in plain torch, one of Stable Diffusion 1.5's classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from torch import Tensor, nn

from stemprover.restoration import lora

BASE = "ab" * 32


class Block(nn.Module):
    """A convolution and one attention-like projection pair."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.norm = nn.GroupNorm(2, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.conv1(self.norm(x))
        return x + self.to_out[0](torch.tanh(self.to_q(x.movedim(1, -1)))).movedim(-1, 1)


class PlainModel(nn.Module):
    """Children named as in a restoration model; input ``[batch, width, height, time]``."""

    def __init__(self, width: int = 8, depth: int = 2) -> None:
        super().__init__()
        self.unet = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.controlnet = nn.Sequential(Block(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.unet(x + self.controlnet(x))


class DiffusionModel(nn.Module):
    """Tiny random ``UNet2DConditionModel`` and ``ControlNetModel`` in the shape of Stable Diffusion 1.5."""

    def __init__(self) -> None:
        from diffusers import ControlNetModel, UNet2DConditionModel

        super().__init__()
        common = {
            "in_channels": 4,
            "block_out_channels": (32, 32),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "cross_attention_dim": 16,
            "attention_head_dim": 4,
            "norm_num_groups": 8,
        }
        up = ("UpBlock2D", "CrossAttnUpBlock2D")
        self.unet = UNet2DConditionModel(sample_size=8, out_channels=4, up_block_types=up, **common)
        self.controlnet = ControlNetModel(conditioning_channels=4, conditioning_embedding_out_channels=(8,), **common)
        for name, parameter in self.controlnet.named_parameters():
            if name.startswith("controlnet_"):  # zero convolutions would hide every change of the ControlNet
                nn.init.normal_(parameter, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :4]
        tokens = torch.linspace(-1, 1, 48, dtype=x.dtype).reshape(1, 3, 16).expand(x.shape[0], -1, -1)
        down, mid = self.controlnet(x, 1, tokens, x, return_dict=False)
        return self.unet(
            x, 1, tokens, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
        )[0]


def build(kind: str) -> nn.Module:
    """Return a model in evaluation mode; the same one for the same kind."""
    torch.manual_seed(0)
    return {"plain": PlainModel, "diffusion": DiffusionModel}[kind]().eval()


def noise(seed: int = 1) -> Tensor:
    return torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(seed))


def run(model: nn.Module, x: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return model(noise() if x is None else x)


def config(model: nn.Module, rank: int = 4, alpha: float = 8, targets: list[str] | None = None) -> LoraConfig:
    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets or lora.default_targets(model))


def make_adapter(
    folder: Path, kind: str = "plain", seed: int = 0, rank: int = 4, alpha: float = 8, targets: list[str] | None = None
) -> Path:
    """Write an adapter with random, nonzero weights, bound to ``BASE``."""
    model = build(kind)
    lora.inject(model, "made", config(model, rank, alpha, targets))
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.2)
    lora.save_adapter(model, folder, "made", {"base_sha256": BASE})
    return folder


@pytest.fixture(name="folders", scope="module")
def adapter_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters for the models, by name."""
    root = tmp_path_factory.mktemp("adapters")
    return {
        "plain": make_adapter(root / "plain"),
        "other": make_adapter(root / "other", seed=1, rank=2, alpha=3, targets=["conv1"]),
        "diffusion": make_adapter(root / "diffusion", kind="diffusion"),
    }


def traces(model: nn.Module) -> tuple[list[str], list[bool], bool]:
    """What an adapter may leave behind in a model."""
    return list(model.state_dict()), [p.requires_grad for p in model.parameters()], hasattr(model, "peft_config")
