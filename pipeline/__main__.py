"""`python -m pipeline`, the same as `vqvae`."""

from pipeline.cli import main

main()
