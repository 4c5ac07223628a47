"""Repairs phasiness and musical noise in separated stems: a StemProver adapter. The package holds data only."""
