"""A mirror as TensorFlow Serving reads it, and whether what it would load is whole."""

from __future__ import annotations

import json
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from components import durable_files
from components.object_store import Folder
from components.release import SERVED


class MirrorReader:
    """Reads `models.config` as the server does, and loads by hashing.

    Args:
        store: URI of the store that is mirrored, whose manifests say what is whole.
        mirror: folder.
        server_path: what `base_path` begins with, if it is not the folder.
    """

    def __init__(self, store: str, mirror: Path, server_path: str | None = None):
        self._store = store
        self._mirror = mirror
        self._server_path = server_path or str(mirror)
        self._expected: dict[int, dict[str, str]] = {}

    def look(self) -> tuple[set[int], dict[str, int]] | None:
        """Versions and labels; None where there is no `models.config`.

        Raises:
            AssertionError: a version that it names is not there for every model, every file as
                it was released and none beside, or the models disagree.
        """
        try:
            text = (self._mirror / "models.config").read_text()
        except FileNotFoundError:
            return None
        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        models = config.model_config_list.config
        assert sorted(model.name for model in models) == sorted(SERVED)
        found = []
        for model in models:
            assert model.base_path == f"{self._server_path}/{model.name}"
            folder = self._mirror / model.name
            # The server lists the base path, and takes every name that is a number for a version.
            listed = {path.name for path in folder.iterdir()}
            assert all(name.isdigit() for name in listed)
            versions = set(model.model_version_policy.specific.versions)
            for version in versions:
                assert str(version) in listed, f"{model.name}/{version}"
                wanted = {
                    name.removeprefix(f"{model.name}/"): digest
                    for name, digest in self._manifest(version).items()
                    if name.startswith(f"{model.name}/")
                }
                assert durable_files.digests(folder / str(version)) == wanted
            labels = dict(model.version_labels)
            assert set(labels.values()) <= versions
            found.append((versions, labels))
        assert all(each == found[0] for each in found)
        return found[0]

    def _manifest(self, version: int) -> dict[str, str]:
        if version not in self._expected:
            text = Folder(self._store).read(f"releases/{version}.json")
            self._expected[version] = json.loads(text)["files"]
        return self._expected[version]
