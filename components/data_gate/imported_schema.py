"""A curated schema, imported again when the file says something else."""

from __future__ import annotations

from pathlib import Path

from tfx.components.schema_gen.import_schema_gen import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import Channel, component_spec, standard_artifacts, standard_component_specs

from components import durable_files


class ImportedSchemaSpec(standard_component_specs.ImportSchemaGenSpec):
    """Interface of `ImportedSchema`."""

    PARAMETERS = {
        **standard_component_specs.ImportSchemaGenSpec.PARAMETERS,
        "content": component_spec.ExecutionParameter(type=str),
    }


class ImportedSchema(base_component.BaseComponent):
    """TFX's ImportSchemaGen, whose cache key has the path only, with the content in it as well.

    Outputs:
        schema: Schema.
    """

    SPEC_CLASS = ImportedSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema_file: str):
        """Args:
        schema_file: path or URI of a `schema.pbtxt`.
        """
        schema = Channel(type=standard_artifacts.Schema)
        super().__init__(
            ImportedSchemaSpec(schema_file=schema_file, content=content(schema_file), schema=schema)
        )


def content(schema_file: str) -> str:
    """SHA-256 of a schema's file; empty where it cannot be looked at from here."""
    path = Path(schema_file)
    return durable_files.digest(path) if path.is_file() else ""
