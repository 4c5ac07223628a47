"""Finds DC offset and rumble below hearing, and keeps it from StemProver's networks."""
