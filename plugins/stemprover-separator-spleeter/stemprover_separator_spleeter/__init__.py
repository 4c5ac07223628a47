"""Spleeter as a separator for StemProver; see :mod:`stemprover_separator_spleeter.separator`."""
