"""Beam on an engine: its arguments, checks before a job, its workers, and cancelling."""
