"""Ids of artifacts in ML Metadata."""

from __future__ import annotations

from collections.abc import Sequence

import ml_metadata
from ml_metadata.proto import metadata_store_pb2


def artifact_ids(database: str, uris: Sequence[str]) -> dict[str, int]:
    """URI -> id, of those that the SQLite database knows; it is only read."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = database
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = ml_metadata.MetadataStore(connection)
    found: dict[str, int] = {}
    for uri in dict.fromkeys(uris):
        artifacts = store.get_artifacts_by_uri(uri)
        if artifacts:
            found[uri] = max(artifact.id for artifact in artifacts)
    return found
