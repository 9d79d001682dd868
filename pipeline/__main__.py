"""`python -m pipeline`, the same as `vqvae`."""

from vqvae_command import main

main()
