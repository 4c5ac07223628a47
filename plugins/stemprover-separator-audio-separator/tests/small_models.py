"""Small seeded models of audio-separator's own classes, stored as it stores what it downloads.

The configurations are those of the published models but for their sizes. A model's folder also holds the catalogue and
the tables of parameters that audio-separator fetches otherwise, so that nothing reaches for the network.
"""

from __future__ import annotations

import fractions
import hashlib
import importlib
import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from stemprover_separator_audio_separator.models import MODELS

__all__ = ["BUILDERS", "COMPENSATION", "MIXING", "roformer", "store"]

_SEED = 0
_DEMUCS_STEMS = ["drums", "bass", "other", "vocals", "guitar", "piano"]
_ROFORMER = {
    "dim": 8, "depth": 1, "stereo": True, "num_stems": 1, "time_transformer_depth": 1, "freq_transformer_depth": 1,
    "dim_head": 4, "heads": 2, "attn_dropout": 0.1, "ff_dropout": 0.1, "flash_attn": True, "dim_freqs_in": 1025,
    "stft_n_fft": 2048, "stft_hop_length": 441, "stft_win_length": 2048, "stft_normalized": False,
    "mask_estimator_depth": 2, "multi_stft_resolution_loss_weight": 1.0,
    "multi_stft_resolutions_window_sizes": (4096, 2048, 1024, 512, 256), "multi_stft_hop_size": 147,
    "multi_stft_normalized": False,
}  # fmt: skip
_KINDS = ("demucs", "mdx", "mdx23c", "roformer", "vr")

MIXING = torch.tensor([[1.3, 0.1], [-0.2, 0.5]])
"""What the small MDX-Net makes of the two channels, at every frequency; the left one gets louder than the mixture."""
COMPENSATION = 1.033
"""By what its first stem is multiplied before it is taken from the mixture."""


def store(name: str, folder: Path) -> None:
    """Write a small model under the names of the real one."""
    torch.manual_seed(_SEED)
    catalogue: dict[str, Any] = {f"{kind}_download_{which}": {} for kind in _KINDS for which in ("list", "vip_list")}
    catalogue |= BUILDERS[name](name, folder)
    (folder / "download_checks.json").write_text(json.dumps(catalogue))


def _demucs(name: str, folder: Path) -> Mapping[str, Any]:
    """Demucs: class, arguments and weights in one file for each member of the bag, and the bag in YAML."""
    stems = _DEMUCS_STEMS[: len(MODELS[name].stems)]
    kind, options = _demucs_class(name == "hdemucs_mmi"), {"sources": stems, "channels": 8}
    if name != "hdemucs_mmi":
        options |= {"segment": fractions.Fraction(2), "t_layers": 1, "bottom_channels": 0, "t_heads": 2}
    members, files = [f"5eed000{number}" for number in range(4 if name == "htdemucs_ft" else 1)], []
    for member in members:
        blob = io.BytesIO()
        state = {key: value.half() for key, value in kind(**options).state_dict().items()}
        torch.save({"klass": kind, "args": (), "kwargs": options, "state": state}, blob)
        files.append(f"{member}-{hashlib.sha256(blob.getvalue()).hexdigest()[:8]}.th")
        (folder / files[-1]).write_bytes(blob.getvalue())
    bag: dict[str, Any] = {"models": members}
    if len(members) > 1:  # each was tuned for one stem
        bag["weights"] = [[float(member == stem) for stem in range(len(stems))] for member in range(len(members))]
    if name == "hdemucs_mmi":
        bag["segment"] = 4
    files.append(f"{name}.yaml")
    (folder / files[-1]).write_text(yaml.safe_dump(bag))
    return {"demucs_download_list": {f"Demucs v4: {name}": {file: f"https://example.org/{file}" for file in files}}}


def _demucs_class(plain: bool) -> Any:
    """The class under the name that published weights have for it, in a package demucs of its own."""
    library = importlib.import_module("audio_separator.separator.uvr_lib_v5")
    if (folder := str(Path(str(library.__file__)).parent)) not in sys.path:
        sys.path.insert(0, folder)
    return (
        importlib.import_module("demucs.hdemucs").HDemucs
        if plain
        else importlib.import_module("demucs.htdemucs").HTDemucs
    )


def roformer(name: str) -> tuple[torch.nn.Module, Mapping[str, Any]]:
    """A Roformer and its arguments; the same one by every call."""
    from audio_separator.separator.uvr_lib_v5.roformer.bs_roformer import DEFAULT_FREQS_PER_BANDS, BSRoformer
    from audio_separator.separator.uvr_lib_v5.roformer.mel_band_roformer import MelBandRoformer

    torch.manual_seed(_SEED)
    if name == "bs_roformer":
        options = {**_ROFORMER, "linear_transformer_depth": 0, "freqs_per_bands": DEFAULT_FREQS_PER_BANDS}
        return BSRoformer(**options).eval(), options
    options = {**_ROFORMER, "num_bands": 60, "sample_rate": 44_100}
    return MelBandRoformer(**options).eval(), options


def _roformer(name: str, folder: Path) -> Mapping[str, Any]:
    """Roformers: weights, and the training's configuration in YAML, with tuples."""
    network, options = roformer(name)
    weights = MODELS[name].file
    torch.save(network.state_dict(), folder / weights)
    # Catalogues name the second stem differently; both must be found.
    instruments = ["Vocals", "Instrumental"] if name == "bs_roformer" else ["vocals", "other"]
    config = {
        "audio": {"chunk_size": 44_100, "dim_f": 1024, "dim_t": 101, "hop_length": 441, "n_fft": 2048,
                  "num_channels": 2, "sample_rate": 44_100, "min_mean_abs": 0.0},
        "model": options,
        "training": {"instruments": instruments, "target_instrument": instruments[0], "use_amp": True},
        "inference": {"batch_size": 4, "dim_t": 101, "num_overlap": 2},
    }  # fmt: skip
    settings = Path(weights).with_suffix(".yaml").name
    (folder / settings).write_text(yaml.dump(config))
    return {"roformer_download_list": {f"Roformer Model: {name}": {weights: settings}}}


def _mdx(name: str, folder: Path) -> Mapping[str, Any]:
    """MDX-Net: an ONNX graph on spectrograms; its parameters are looked up by the file's MD5."""
    from onnx import TensorProto, helper, numpy_helper, save

    shape = ["batch", 4, 3072, 256]
    kernel = torch.kron(MIXING, torch.eye(2))[:, :, None, None].numpy()  # real and imaginary parts are channels, too
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "kernel"], ["output"])],
        "mdx",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    weights = folder / MODELS[name].file
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(weights))
    parameters = {"compensate": COMPENSATION, "mdx_dim_f_set": 3072, "mdx_dim_t_set": 8, "mdx_n_fft_scale_set": 6144,
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
