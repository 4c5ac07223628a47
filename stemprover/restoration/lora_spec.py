"""What an adapter's configuration says: rank, alpha and targets of plain LoRA, and nothing else.

Whatever else a PEFT configuration can ask for (DoRA, biases, modules to save, layer replication, initialisations that
change the base) would be dropped or would alter the base, so it is refused. Module names are literal suffixes, never
regular expressions: a pattern from a stranger's file can take for ever to match.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from stemprover.errors import AdapterError

__all__ = ["LoraSpec", "spec_from_config"]

NumberT = TypeVar("NumberT", int, float)

# Names as PEFT and diffusers write them, "^unet\\.conv_in" at most: matched as patterns, they cost linear time.
_PATTERN = re.compile(r"\^?(\w|-|\\?\.)+")
# Settings that do not change what the weights mean once they are trained.
_INERT = frozenset(
    {
        *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
        *("inference_mode", "lora_dropout", "init_lora_weights", "megatron_core", "qalora_group_size"),
        *("r", "lora_alpha", "target_modules", "exclude_modules", "rank_pattern", "alpha_pattern", "use_rslora"),
    }
)
_INITIALISATIONS: tuple[object, ...] = (None, True, False, "gaussian")


@dataclasses.dataclass(frozen=True)
class LoraSpec:
    """What ``adapter_config.json`` says about plain LoRA.

    Attributes
    ----------
    rank : int
        Rank of all modules that ``rank_pattern`` does not name.
    alpha : float
        The delta of a module is ``alpha / rank * B @ A`` (``alpha / sqrt(rank)`` with ``use_rslora``).
    targets, excluded : tuple of str
        Module names or their last parts (``to_q``, ``to_out.0``).
    rank_pattern, alpha_pattern : Mapping
        Other ranks and alphas by module name.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    rank_pattern: Mapping[str, int] = dataclasses.field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = dataclasses.field(default_factory=dict)
    use_rslora: bool = False

    def covers(self, module: str) -> bool:
        """Whether the adapter acts on a module of this full name."""
        return _listed(module, self.targets) and not _listed(module, self.excluded)

    def rank_of(self, module: str) -> int:
        """Rank of one module, by PEFT's rule: the first pattern that matches the end of the name wins."""
        return _first(self.rank_pattern, module, self.rank)

    def plain_alpha_of(self, module: str, rank: int) -> float:
        """Alpha that gives one module of this rank, in plain LoRA, the scale that is meant here."""
        alpha = _first(self.alpha_pattern, module, self.alpha)
        return alpha * math.sqrt(rank) if self.use_rslora else alpha


def spec_from_config(raw: Mapping[str, Any], source: str) -> LoraSpec:
    """Check the settings of a LoRA configuration (PEFT's names) and keep those that matter."""
    for key, value in raw.items():
        if key not in _INERT and value and value != "none":
            raise AdapterError("plain LoRA", f"{key} = {value!r} in {source}", "export it as plain LoRA")
    if raw.get("init_lora_weights") not in _INITIALISATIONS:
        raise AdapterError(
            "an adapter on the unchanged base",
            f"init_lora_weights = {raw['init_lora_weights']!r} in {source}",
            "convert it to plain LoRA with PEFT",
        )
    return LoraSpec(
        rank=_rank(raw.get("r"), "r", source),
        alpha=_alpha(raw.get("lora_alpha"), "lora_alpha", source),
        targets=_names(raw.get("target_modules"), "target_modules", source),
        excluded=_names(raw.get("exclude_modules") or [], "exclude_modules", source),
        rank_pattern={name: _rank(v, name, source) for name, v in _pattern(raw, "rank_pattern", source).items()},
        alpha_pattern={name: _alpha(v, name, source) for name, v in _pattern(raw, "alpha_pattern", source).items()},
        use_rslora=bool(raw.get("use_rslora", False)),
    )


def _first(patterns: Mapping[str, NumberT], module: str, usual: NumberT) -> NumberT:
    matching = (value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module))
    return next(matching, usual)


def _listed(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.endswith("." + name) for name in names)


def _rank(value: object, key: str, source: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise AdapterError(f"a whole number above 0 as rank {key}", f"{value!r} in {source}", "state the trained rank")
    return value


def _alpha(value: object, key: str, source: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise AdapterError(f"a number above 0 as alpha {key}", f"{value!r} in {source}", "state the trained alpha")
    return value


def _names(value: object, key: str, source: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(name, str) for name in value):
        raise AdapterError(f"a list of module names as {key}", f"{value!r} in {source}", "list the modules")
    return tuple(sorted(value))


def _pattern(raw: Mapping[str, Any], key: str, source: str) -> Mapping[str, object]:
    value = raw.get(key) or {}
    if not isinstance(value, dict) or not all(_PATTERN.fullmatch(name) for name in value):
        raise AdapterError(f"module names as keys of {key}", f"{value!r} in {source}", "name the modules in full")
    return value
