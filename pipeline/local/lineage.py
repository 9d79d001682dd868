"""What ML Metadata knows of a run root's artifacts and executions; it is only read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2


def artifact_ids(database: str, uris: Sequence[str]) -> dict[str, int]:
    """URI -> id, of those that the SQLite database knows."""
    store = _opened(database)
    found: dict[str, int] = {}
    for uri in dict.fromkeys(uris):
        artifacts = store.get_artifacts_by_uri(uri)
        if artifacts:
            found[uri] = max(artifact.id for artifact in artifacts)
    return found


def has_results_of_push(database: str, push_id: str) -> bool:
    """Whether all artifacts of the run whose Pusher had this id are still there."""
    if not Path(database).is_file():
        return False
    store = _opened(database)
    pushes = [
        execution
        for execution in store.get_executions()
        if execution.custom_properties["push_id"].string_value == push_id
    ]
    if not pushes:
        return False
    newest = max(pushes, key=lambda execution: execution.id)
    return all(
        Path(artifact.uri).exists()
        for context in store.get_contexts_by_execution(newest.id)
        if context.type == "pipeline_run"
        for artifact in store.get_artifacts_by_context(context.id)
        if artifact.state == metadata_store_pb2.Artifact.LIVE
    )


def _opened(database: str) -> ml_metadata.MetadataStore:
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = database
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    return ml_metadata.MetadataStore(connection)
