"""The directory of a pipeline's runs, and what lies in it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import tempfile
from pathlib import Path

from components.errors import PipelineError
from components.literal_paths import is_plain


@dataclasses.dataclass(frozen=True)
class Root:
    """Paths below a run root."""

    path: Path

    def plain(self) -> Root:
        """This root as TensorFlow, Beam and TFX are to see it.

        Where its own path would be a pattern to them, or is no UTF-8, that is a link to it in the
        deepest folder whose path is neither. It stays, as ML Metadata knows artifacts by it.

        Raises:
            PipelineError: there is no room for the link.
        """
        if is_plain(self.path):
            return self
        name = ".vqvae-" + hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        beside = next(folder for folder in self.path.parents if is_plain(folder))
        for link in (beside / name, Path(tempfile.gettempdir(), name)):
            with contextlib.suppress(OSError):
                if not link.is_symlink():
                    link.symlink_to(self.path)
                if os.readlink(link) == str(self.path):
                    return Root(link)
        raise PipelineError(
            f"{self.path}: TensorFlow would take this path for a pattern, and no link to it can be "
            f"made in {beside}; choose another --root, without any of * ? [ ] {{ }} \\"
        )

    def see(self, path: str) -> str:
        """A path in this root as `plain` has it; any other as it is."""
        if not is_plain(self.path) and Path(path).is_relative_to(self.path):
            return str(self.plain().path / Path(path).relative_to(self.path))
        return path

    def found(self, path: str) -> str:
        """The opposite of `see`."""
        if not is_plain(self.path) and Path(path).is_relative_to(self.plain().path):
            return str(self.path / Path(path).relative_to(self.plain().path))
        return path

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
    def data_links(self) -> Path:
        """Links to data sets whose own names are no UTF-8."""
        return self.path / "data-links"

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
