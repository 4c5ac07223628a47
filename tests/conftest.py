"""Interruptions reach what tests start; a suite in the background of a shell ignores them, as would its children."""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
