"""Separation: the protocol of separators, and the host's own."""
