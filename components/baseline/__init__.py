"""The release that a candidate is compared with, as an artifact of the run."""

from components.baseline.artifact import BaselineInfo, read

__all__ = ["BaselineInfo", "read"]
