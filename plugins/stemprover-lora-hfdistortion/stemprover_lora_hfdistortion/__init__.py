"""Repairs distorted, perforated or cut-off high frequencies in separated stems: a StemProver adapter. The package holds data only."""
