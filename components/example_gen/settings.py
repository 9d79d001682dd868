"""ImageExampleGen's own settings, which TFX carries as its `custom_config`."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, json_format, struct_pb2
from tfx.proto import example_gen_pb2
from tfx.types import standard_component_specs
from tfx.utils import proto_utils


def pack(**settings: Any) -> example_gen_pb2.CustomConfig:
    """The settings as the component's argument; all of them are part of its cache key."""
    values = struct_pb2.Struct()
    values.update(settings)
    packed = any_pb2.Any()
    packed.Pack(values)
    return example_gen_pb2.CustomConfig(custom_config=packed)


def read(exec_properties: dict[str, Any]) -> dict[str, Any]:
    """The settings of an execution, for its driver and its executor."""
    config, values = example_gen_pb2.CustomConfig(), struct_pb2.Struct()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], config)
    config.custom_config.Unpack(values)
    return json_format.MessageToDict(values)
