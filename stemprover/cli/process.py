"""What a command does to its own process before it works; the library leaves the process alone."""

from __future__ import annotations

import os
import warnings

__all__ = ["prepare_process", "quieten_libraries"]


def prepare_process(training: bool = False) -> None:
    """Make this process quiet and its memory flat, for commands that repair, separate or train."""
    from stemprover.batch.allocator import settle_allocator

    settle_allocator(keep_all=training)
    quieten_libraries()


def quieten_libraries() -> None:
    """Keep warnings and bars of the libraries below off the user's terminal; only the command line does this."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from diffusers.utils import logging

    logging.disable_progress_bar()
