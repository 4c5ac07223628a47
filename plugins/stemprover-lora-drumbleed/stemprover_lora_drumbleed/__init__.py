"""Removes drum bleed from separated stems: a StemProver adapter. The package holds data only."""
