"""Runtime parameters: settings that a person may change for one run without compiling again.

Kubeflow hands them to a task as further parameters. Where they belong is said by the task's
arguments, `--override steps=custom_config/settings/stage/steps`: the execution property and the
keys in it. A property, and what lies in it, may be JSON in a string, as TFX and we pass it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from components.errors import PipelineError

Json = dict[str, Any]


def fold(invocation: Json, overrides: Sequence[str]) -> None:
    """Moves the runtime parameters of a task into its execution properties.

    Args:
        invocation: the ExecutorInput message as JSON; changed in place.
        overrides: `PARAMETER=PROPERTY[/KEY…]`. One parameter may go to several places.

    Raises:
        PipelineError: a place that does not exist in this task.
    """
    values = invocation.get("inputs", {}).get("parameterValues", {})
    given = {}
    for override in overrides:
        name, _, path = override.partition("=")
        if name in values:
            given[name] = values.pop(name)
        if name in given:
            first, *keys = path.split("/")
            values[first] = _with(values.get(first), keys, _number(given[name]), override)


def _with(place: Any, keys: Sequence[str], value: Any, override: str) -> Any:
    """`place` with the value at the end of `keys`."""
    if not keys:
        return value
    if isinstance(place, str):
        return json.dumps(_with(json.loads(place), keys, value, override))
    if not isinstance(place, dict) or keys[0] not in place:
        raise PipelineError(
            f"--override {override}: this task has no {keys[0]!r} there; compile the pipeline "
            "again with the version of vqvae that is in the image"
        )
    return {**place, keys[0]: _with(place[keys[0]], keys[1:], value, override)}


def _number(value: Any) -> Any:
    """Kubeflow has no integers: 500 arrives as 500.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
