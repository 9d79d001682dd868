"""Runs on this machine: their root, what they depend on, and TFX's runner."""
