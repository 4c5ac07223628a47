"""The error tree.

    StemProverError
    ├── InputError              what the user handed in
    │   ├── AudioError          a file that is missing, empty, truncated, not audio, NaN, ...
    │   ├── StemSetError        stems that do not belong together
    │   ├── OptionError         an option or a combination of options
    │   └── OutputError         where the result should go
    ├── PluginError             anything installed
    │   ├── ManifestError       a manifest that cannot be read or is invalid
    │   ├── PluginNotFoundError a name that nobody registered
    │   ├── AdapterError        LoRA weights that do not fit, are tampered with or are not finite
    │   └── BaseMismatchError   an adapter that was trained for another base or spectral spec
    ├── ModelError              embedded or user-supplied base and vocoder weights
    └── TrainingError           data and recipes of ``stemprover data`` and ``stemprover train``

Every error reads as one line: what was expected, what arrived, what to do next. The command line prints that
line and exits with code 2.
"""

from __future__ import annotations

__all__ = [
    "AdapterError",
    "AudioError",
    "BaseMismatchError",
    "InputError",
    "ManifestError",
    "ModelError",
    "OptionError",
    "OutputError",
    "PluginError",
    "PluginNotFoundError",
    "StemProverError",
    "StemSetError",
    "TrainingError",
]


class StemProverError(Exception):
    """Base of all errors that StemProver raises on purpose.

    Parameters
    ----------
    expected : str
        What would have been right, without a final full stop.
    got : str
        What arrived instead.
    fix : str
        What the user can do next.
    """

    def __init__(self, expected: str, got: str, fix: str) -> None:
        self.expected, self.got, self.fix = (" ".join(part.split()) for part in (expected, got, fix))
        super().__init__(f"expected {self.expected}, got {self.got}; {self.fix}")

    def __reduce__(self) -> tuple[type[StemProverError], tuple[str, str, str]]:
        """Let errors travel between processes."""
        return type(self), (self.expected, self.got, self.fix)


class InputError(StemProverError):
    """What the user handed in cannot be used."""


class AudioError(InputError):
    """An audio file or array cannot be used."""


class StemSetError(InputError):
    """Stems of one set do not belong together."""


class OptionError(InputError):
    """An option or a combination of options makes no sense."""


class OutputError(InputError):
    """The result cannot be written where it was asked for."""


class PluginError(StemProverError):
    """An installed plugin cannot be used."""


class ManifestError(PluginError):
    """A plugin manifest cannot be read or is invalid."""


class PluginNotFoundError(PluginError):
    """No installed plugin has this name."""


class AdapterError(PluginError):
    """LoRA weights do not fit the base, were changed after release or are not finite."""


class BaseMismatchError(PluginError):
    """An adapter was trained for another base or another spectral spec."""


class ModelError(StemProverError):
    """Base or vocoder weights cannot be loaded."""


class TrainingError(StemProverError):
    """Training data or a training recipe cannot be used."""
