"""The directory of a pipeline's runs, and what lies in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Root:
    """Paths below a run root."""

    path: Path

    @property
    def artifacts(self) -> Path:
        """Every artifact of every run."""
        return self.path / "pipeline"

    @property
    def metadata(self) -> Path:
        """ML Metadata: what was made from what."""
        return self.path / "metadata.sqlite"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of the trainings, by what decides their result."""
        return self.path / "checkpoints"

    @property
    def serving(self) -> Path:
        """The release store."""
        return self.path / "serving"

    @property
    def data(self) -> Path:
        """The embedded data set, where a run was given no other."""
        return self.path / "data"

    @property
    def report(self) -> Path:
        """The report of the last run."""
        return self.path / "report" / "index.html"

    @property
    def last_run(self) -> Path:
        """The last run's configuration and components, as JSON."""
        return self.path / "last_run.json"

    @property
    def lock(self) -> Path:
        """Held while a run writes here; says who holds it."""
        return self.path / "run.lock"

    @property
    def log(self) -> Path:
        """What the libraries said in the last run."""
        return self.path / "logs" / "run.log"

    @property
    def rejected(self) -> Path:
        """The records that the last ImageExampleGen could not use, as JSON lines; if any."""
        return self.path / "logs" / "rejected.jsonl"
