"""Removes bleed of any source from separated stems: a StemProver adapter. The package holds data only."""
