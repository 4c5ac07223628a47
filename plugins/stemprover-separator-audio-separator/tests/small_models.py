"""Small seeded models of audio-separator's own classes, stored as it stores what it downloads.

A model's folder also holds the catalogue and the tables of parameters that audio-separator fetches otherwise, so that
nothing reaches for the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from stemprover_separator_audio_separator.models import MODELS

__all__ = ["BUILDERS", "SEED", "store"]

SEED = 0
_DEMUCS_STEMS = ["drums", "bass", "other", "vocals", "guitar", "piano"]
_ROFORMER = {"dim": 8, "depth": 1, "stereo": True, "num_stems": 1, "time_transformer_depth": 1,
             "freq_transformer_depth": 1, "dim_head": 4, "heads": 2, "flash_attn": False, "stft_n_fft": 2048,
             "stft_hop_length": 512, "stft_win_length": 2048}  # fmt: skip
_KINDS = ("demucs", "mdx", "mdx23c", "roformer", "vr")


def store(name: str, folder: Path) -> None:
    """Write a small model under the names of the real one."""
    torch.manual_seed(SEED)
    catalogue: dict[str, Any] = {f"{kind}_download_{which}": {} for kind in _KINDS for which in ("list", "vip_list")}
    catalogue |= BUILDERS[name](name, folder)
    (folder / "download_checks.json").write_text(json.dumps(catalogue))


def _demucs(name: str, folder: Path) -> Mapping[str, Any]:
    """Demucs: class, arguments and weights in one file for each member of the bag, and the bag in YAML."""
    from audio_separator.separator.uvr_lib_v5.demucs.hdemucs import HDemucs
    from audio_separator.separator.uvr_lib_v5.demucs.htdemucs import HTDemucs

    stems = _DEMUCS_STEMS[: len(MODELS[name].stems)]
    options: dict[str, Any] = {"sources": stems, "channels": 8}
    kind = HDemucs if name == "hdemucs_mmi" else HTDemucs
    options |= {"segment": 4} if kind is HDemucs else {"segment": 2, "t_layers": 1, "bottom_channels": 0, "t_heads": 2}
    members = [f"5eed000{number}" for number in range(4 if name == "htdemucs_ft" else 1)]
    for member in members:
        package = {"klass": kind, "args": (), "kwargs": options, "state": kind(**options).state_dict()}
        torch.save(package, folder / f"{member}.th")
    bag: dict[str, Any] = {"models": members}
    if len(members) > 1:  # each was tuned for one stem
        bag["weights"] = [[float(member == stem) for stem in range(len(stems))] for member in range(len(members))]
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(bag))
    files = {file: f"https://example.org/{file}" for file in (*(f"{one}.th" for one in members), f"{name}.yaml")}
    return {"demucs_download_list": {f"Demucs v4: {name}": files}}


def _roformer(name: str, folder: Path) -> Mapping[str, Any]:
    """Roformers: weights, and the training's configuration in YAML."""
    from audio_separator.separator.uvr_lib_v5.roformer.bs_roformer import DEFAULT_FREQS_PER_BANDS, BSRoformer
    from audio_separator.separator.uvr_lib_v5.roformer.mel_band_roformer import MelBandRoformer

    if name == "bs_roformer":
        options = {**_ROFORMER, "freqs_per_bands": list(DEFAULT_FREQS_PER_BANDS)}
        network = BSRoformer(**{**options, "freqs_per_bands": DEFAULT_FREQS_PER_BANDS})
        instruments = ["Vocals", "Instrumental"]
    else:
        options = {**_ROFORMER, "num_bands": 60, "sample_rate": 44_100, "dim_freqs_in": 1025}
        network = MelBandRoformer(**options)
        instruments = ["vocals", "other"]
    weights = MODELS[name].file
    torch.save(network.state_dict(), folder / weights)
    config = {
        "audio": {"chunk_size": 44_100, "dim_f": 1024, "dim_t": 87, "hop_length": 512, "n_fft": 2048,
                  "num_channels": 2, "sample_rate": 44_100},
        "model": options,
        "training": {"instruments": instruments, "target_instrument": instruments[0]},
        "inference": {"batch_size": 1, "dim_t": 87, "num_overlap": 2},
    }  # fmt: skip
    settings = Path(weights).with_suffix(".yaml").name
    (folder / settings).write_text(yaml.safe_dump(config))
    return {"roformer_download_list": {f"Roformer Model: {name}": {weights: settings}}}


def _mdx(name: str, folder: Path) -> Mapping[str, Any]:
    """MDX-Net: an ONNX graph on spectrograms; its parameters are looked up by the file's MD5."""
    from onnx import TensorProto, helper, numpy_helper, save

    bins, frames = 2048, 256
    shape = ["batch", 4, bins, frames]
    kernel = 0.5 * torch.eye(4)[:, :, None, None] + 0.05 * torch.randn(4, 4, 1, 1)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "kernel"], ["output"])],
        "mdx",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(kernel.numpy(), "kernel")],
    )
    weights = folder / MODELS[name].file
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(weights))
    parameters = {"compensate": 1.0, "mdx_dim_f_set": bins, "mdx_dim_t_set": 8, "mdx_n_fft_scale_set": 2 * bins,
                  "primary_stem": "Instrumental"}  # fmt: skip
    digest = hashlib.md5(weights.read_bytes(), usedforsecurity=False).hexdigest()
    (folder / "mdx_model_data.json").write_text(json.dumps({digest: parameters}))
    (folder / "vr_model_data.json").write_text("{}")
    return {"mdx_download_list": {f"MDX-Net Model: {name}": weights.name}}


BUILDERS: Mapping[str, Callable[[str, Path], Mapping[str, Any]]] = {
    **dict.fromkeys(("htdemucs", "htdemucs_ft", "htdemucs_6s", "hdemucs_mmi"), _demucs),
    **dict.fromkeys(("bs_roformer", "mel_roformer"), _roformer),
    "mdx_inst_hq3": _mdx,
}
"""What writes a small model, by the separator's name."""
