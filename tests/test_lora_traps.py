"""What diffusers and PEFT let pass, each case shown first, and that this project's loader does not.

Should a test fail in its first half after an upgrade, the library has learnt to refuse that case: good news.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lora_models import BASE, DiffusionModel, build, make_adapter, run
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stemprover.errors import AdapterError, BaseMismatchError
from stemprover.restoration import lora
from stemprover.restoration.lora_file import PREFIX, WEIGHTS_FILE


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of rank 4 and alpha 16, so its scale is 4."""
    return make_adapter(tmp_path_factory.mktemp("sound"), kind="diffusion", alpha=16)


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "adapter"))


@pytest.fixture
def model() -> nn.Module:
    return build("diffusion")


@pytest.fixture
def diffusers_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """diffusers' warnings go to its own logger, which does not pass them on."""
    logger = logging.getLogger("diffusers")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def diffusers_layout(folder: Path) -> dict[str, Tensor]:
    return {key.removeprefix(PREFIX): value for key, value in load_file(folder / WEIGHTS_FILE).items()}


def rewrite(folder: Path, weights: dict[str, Tensor]) -> None:
    save_file({PREFIX + key: value.clone() for key, value in weights.items()}, folder / WEIGHTS_FILE)


def refused(model: nn.Module, folder: Path, words: str) -> None:
    names = list(model.state_dict())
    with pytest.raises(AdapterError, match=words):
        lora.load_adapter(model, folder, "strict")
    assert list(model.state_dict()) == names


def test_safetensors_are_overlooked(model: nn.Module, folder: Path) -> None:
    with pytest.raises(OSError, match=r"no file named pytorch_lora_weights\.bin"):
        model.unet.load_lora_adapter(str(folder), prefix="unet")
    lora.load_adapter(model, folder, "strict")


def test_peft_opens_a_pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS_FILE), folder / "adapter_model.bin")
    (folder / WEIGHTS_FILE).unlink()
    PeftModel.from_pretrained(build("diffusion"), folder)
    refused(build("diffusion"), folder, "safetensors weights only")


def test_a_wrong_prefix_loads_nothing(model: nn.Module, folder: Path, diffusers_log: pytest.LogCaptureFixture) -> None:
    base = run(model)
    model.unet.load_lora_adapter(diffusers_layout(folder), prefix="transformer")
    assert torch.equal(run(model), base)
    assert "No LoRA keys" in diffusers_log.text
    # PEFT's own layout counts as a wrong prefix, too: a folder that is right in every way does nothing.
    model.unet.load_lora_adapter(str(folder), prefix="unet", use_safetensors=True)
    assert torch.equal(run(model), base)
    weights = {"transformer." + key.removeprefix("unet."): value for key, value in diffusers_layout(folder).items()}
    rewrite(folder, {key: value for key, value in weights.items() if "controlnet" not in key})
    refused(model, folder, "weights for layers of this model, got none")


def test_another_architecture_loads_in_part(
    model: nn.Module, folder: Path, diffusers_log: pytest.LogCaptureFixture
) -> None:
    base = run(model)
    weights = {key.replace("mid_block", "middle_block"): value for key, value in diffusers_layout(folder).items()}
    build("diffusion").unet.load_lora_adapter(weights, prefix="unet")
    assert "unexpected keys" in diffusers_log.text
    rewrite(folder, weights)
    refused(model, folder, r"targeted layers of this model only, got \d+ others")
    assert torch.equal(run(model), base)


def test_missing_weights_go_unnoticed(model: nn.Module, folder: Path, diffusers_log: pytest.LogCaptureFixture) -> None:
    weights = {key: value for key, value in diffusers_layout(folder).items() if "to_q" in key}
    build("diffusion").unet.load_lora_adapter(weights, prefix="unet")
    assert not diffusers_log.text
    rewrite(folder, weights)
    with pytest.warns(UserWarning, match="missing adapter keys"):
        PeftModel.from_pretrained(build("diffusion"), folder)
    refused(model, folder, r"weights for every targeted layer, got \d+ missing")


def test_other_base_weights_are_accepted(folder: Path, diffusers_log: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(99)
    other = DiffusionModel().eval()
    other.unet.load_lora_adapter(diffusers_layout(folder), prefix="unet")
    assert not diffusers_log.text
    with pytest.raises(BaseMismatchError, match="for base abababababab"):
        lora.load_adapter(build("diffusion"), folder, "strict", base_sha256="99" * 32)
    assert lora.load_adapter(build("diffusion"), folder, "strict", base_sha256=BASE).modules > 0


def test_without_its_configuration_alpha_is_lost(model: nn.Module, folder: Path) -> None:
    scales = []
    for target, load in (
        (build("diffusion"), lambda m: m.unet.load_lora_adapter(diffusers_layout(folder), prefix="unet")),
        (model, lambda m: lora.load_adapter(m, folder, "strict")),
    ):
        load(target)
        scales.append({scale for m in target.unet.modules() if hasattr(m, "scaling") for scale in m.scaling.values()})
    assert scales == [{1.0}, {4.0}], "trained with 16 / 4"
    (folder / "adapter_config.json").unlink()
    refused(build("diffusion"), folder, "which holds rank and alpha")


def test_nan_is_loaded(model: nn.Module, folder: Path, diffusers_log: pytest.LogCaptureFixture) -> None:
    weights = {key: torch.full_like(value, torch.nan) for key, value in diffusers_layout(folder).items()}
    victim = build("diffusion")
    victim.unet.load_lora_adapter(weights, prefix="unet")
    assert run(victim).isnan().all()
    assert not diffusers_log.text
    rewrite(folder, weights)
    refused(model, folder, "finite weights")


def test_a_failed_load_leaves_wrappers_behind(model: nn.Module, folder: Path) -> None:
    weights = diffusers_layout(folder)
    key = next(key for key in weights if key.startswith("unet.") and key.endswith("to_q.lora_A.weight"))
    weights[key] = torch.zeros(4, 7)
    victim = build("diffusion")
    with pytest.raises(RuntimeError, match="size mismatch"):
        victim.unet.load_lora_adapter(weights, prefix="unet")
    assert any(".base_layer." in name for name in victim.state_dict())
    rewrite(folder, weights)
    refused(model, folder, r"shape \(4, 32\) for unet.*to_q.lora_A.weight, got \(4, 7\)")


def test_strength_zero_and_disabled_are_the_base_bit_for_bit(model: nn.Module, folder: Path) -> None:
    base = run(model)
    lora.load_adapter(model, folder, "strict")
    for scales in ({"strict": 0.0}, {"strict": -0.0}, {}):
        lora.use_adapters(model, {"strict": 1.0})
        assert not torch.equal(run(model), base)
        lora.use_adapters(model, scales)
        assert torch.equal(run(model), base)


def test_an_adapters_name_can_hide_anothers_weights() -> None:
    def config() -> LoraConfig:
        return LoraConfig(r=2, target_modules=["to_q", "conv1"])

    alone, shared = build("diffusion"), build("diffusion")
    inject_adapter_in_model(config(), alone, "one")
    inject_adapter_in_model(config(), shared, "one")
    with pytest.warns(UserWarning, match="multiple adapters"):
        inject_adapter_in_model(config(), shared, "attn1")
    saved = [len(get_peft_model_state_dict(m, adapter_name="one")) for m in (alone, shared)]
    assert saved[1] < saved[0], "PEFT leaves out every weight below a layer called attn1"
    with pytest.raises(AdapterError, match="letters"):
        lora.inject(build("diffusion"), "attn1", config())


def test_dropout_stays_on_in_an_evaluated_model() -> None:
    def config() -> LoraConfig:
        return LoraConfig(r=2, target_modules=["to_q"], lora_dropout=0.5, init_lora_weights=False)

    careless, strict = build("plain"), build("plain")
    inject_adapter_in_model(config(), careless, "one")
    assert not torch.equal(run(careless), run(careless))
    lora.inject(strict, "one", config())
    assert torch.equal(run(strict), run(strict))


def test_some_initialisations_change_the_base() -> None:
    def config() -> LoraConfig:
        return LoraConfig(r=2, target_modules=["to_q"], init_lora_weights="pissa")

    weight = build("plain").unet[0].to_q.weight
    careless, strict = build("plain"), build("plain")
    inject_adapter_in_model(config(), careless, "one")
    assert not torch.equal(careless.unet[0].to_q.base_layer.weight, weight)
    with pytest.raises(AdapterError, match="unchanged base"):
        lora.inject(strict, "one", config())
    assert torch.equal(strict.unet[0].to_q.weight, weight)


def test_the_unconditional_unet_has_no_adapter_methods(tmp_path: Path) -> None:
    from diffusers import UNet2DModel

    def unconditional() -> nn.Module:
        torch.manual_seed(0)
        blocks = {
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        }
        model = nn.Module()
        model.unet = UNet2DModel(
            8, 4, 4, block_out_channels=(32, 32), layers_per_block=1, norm_num_groups=8, attention_head_dim=8, **blocks
        )
        return model.eval()

    model, x = unconditional(), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert not hasattr(model.unet, "load_lora_adapter")
    info = lora.inject(model, "one", LoraConfig(r=2, target_modules=lora.default_targets(model)))
    assert not info.touches_controlnet
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    lora.save_adapter(model, tmp_path, "one", {})
    other = unconditional()
    with torch.no_grad():
        expected, base = model.unet(x, 1).sample, other.unet(x, 1).sample
        lora.load_adapter(other, tmp_path, "strict")
        lora.use_adapters(other, {"strict": 1.0})
        torch.testing.assert_close(other.unet(x, 1).sample, expected)
    assert not torch.allclose(base, expected)
