"""Separators of audio-separator for StemProver. Importing this package imports neither torch nor audio-separator."""
