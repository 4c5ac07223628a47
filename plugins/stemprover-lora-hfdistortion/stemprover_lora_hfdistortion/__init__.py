"""Repairs damaged high frequencies in separated stems: a StemProver adapter. The package holds data only."""
