"""The `vqvae` command: `vqvae X` is in `X.py`."""
