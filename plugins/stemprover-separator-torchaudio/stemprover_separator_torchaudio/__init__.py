"""Hybrid Demucs from torchaudio as separators for StemProver; neither torch nor torchaudio is imported with it."""
