"""Many files: which input becomes which output, and one run over all of them."""
