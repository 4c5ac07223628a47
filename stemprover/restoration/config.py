"""Configuration files that hold a class's own arguments only."""

from __future__ import annotations

import inspect
import json
from typing import Any

__all__ = ["OwnConfig"]


class OwnConfig:
    """Mixin for subclasses of diffusers models.

    diffusers records the parent's arguments beside the subclass's and, on loading, warns about each of them. What the
    subclass derives need not be stored.
    """

    config: Any

    def to_json_string(self) -> str:
        """Return ``config.json``: metadata and the arguments of this class."""
        names = inspect.signature(type(self).__init__).parameters
        own = {key: value for key, value in self.config.items() if key in names or key.startswith("_")}
        own = {key: value for key, value in own.items() if key not in ("_name_or_path", "_use_default_values")}
        return json.dumps({"_class_name": type(self).__name__} | own, indent=2, sort_keys=True) + "\n"
