"""Argo's workflow that a run of Kubeflow Pipelines is, and what the API tells of its nodes."""

from __future__ import annotations

import uuid
from typing import Any

Json = dict[str, Any]

WORKFLOW = "digits-x7k2p"
_PHASES = {"SUCCEEDED": "Succeeded", "FAILED": "Failed", "RUNNING": "Running"}


def nodes(
    states: dict[str, str], tries: dict[str, int], driver_fails: str, messages: dict[str, str]
) -> list[Json]:
    """What Argo makes of a compiled run.

    A task is a graph of its own. Its pod is the node `executor` in it; where it may be tried
    again, that is a node of the kind Retry with a pod for each try. The children of a node
    are also what follows it.
    """
    made = [
        _node("", WORKFLOW, "DAG", "entrypoint", "RUNNING", ""),
        _node(".root-driver", "root-driver", "Pod", "system-dag-driver", "SUCCEEDED", ""),
        _node(".root", "root", "DAG", "root", "RUNNING", ""),
    ]
    for task, state in states.items():
        fails = task == driver_fails
        path = f".root.{task}"
        driver = f"{path}-driver"
        made[-1]["children"].append(_id(driver))
        made.append(
            _node(driver, f"{task}-driver", "Pod", "system-container-driver",
                  "FAILED" if fails else "SUCCEEDED", ".root")
        )  # fmt: skip
        made[-1]["of"] = f"{task}-driver"
        if fails:
            made.append(_node(path, task, "Skipped", "system-container-executor",
                               "OMITTED", ".root"))  # fmt: skip
            continue
        made[-1]["children"].append(_id(path))
        made.append(_node(path, task, "DAG", "system-container-executor", state, ".root"))
        made[-1]["children"].append(_id(f"{path}.executor"))
        times = tries.get(task)
        if times is None:
            pods = [("", "system-container-impl")]
        else:
            template = "retry-system-container-impl"
            made.append(_node(f"{path}.executor", "executor", "Retry", template, state, path))
            pods = [(f"({number})", template) for number in range(times)]
        for number, (suffix, template) in enumerate(pods):
            last = number == len(pods) - 1
            each = f"{path}.executor{suffix}"
            if suffix:
                parent = next(n for n in made if n["id"] == _id(f"{path}.executor"))
                parent["children"].append(_id(each))
            made.append(
                _node(each, f"executor{suffix}", "Pod", template,
                      state if last else "FAILED", path)
            )  # fmt: skip
            made[-1]["of"] = task if last else f"{task} before"
            if last and task in messages:
                made[-1]["message"] = messages[task]
    return made


def _node(path: str, name: str, kind: str, template: str, state: str, boundary: str) -> Json:
    started = "2026-11-24T11:00:00Z"
    return {
        "id": _id(path),
        "name": WORKFLOW + path,
        "displayName": name,
        "type": kind,
        "templateName": template,
        "phase": _PHASES.get(state, state.capitalize()),
        "startedAt": started,
        "boundaryID": _id(boundary),
        "children": [],
        "of": "",
    }


def _id(path: str) -> str:
    """Argo's id of a node: the workflow, and the hash (FNV-1a) of the node's whole name."""
    if not path:
        return WORKFLOW
    hashed = 0x811C9DC5
    for byte in (WORKFLOW + path).encode():
        hashed = (hashed ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{WORKFLOW}-{hashed}"


def pod_name(node: Json) -> str:
    return f"{WORKFLOW}-{node['templateName']}-{node['id'].rpartition('-')[2]}"


def detail(node: Json) -> Json:
    """A node as the API tells it: its children are ids of nodes, and its own pod is not said."""
    states = {phase: state for state, phase in _PHASES.items()}
    known = {"Pending": "PENDING", "Skipped": "SKIPPED", "Canceled": "CANCELED", **states}
    return {
        "task_id": str(uuid.uuid5(uuid.NAMESPACE_OID, node["id"])),
        "display_name": node["displayName"],
        "state": known.get(node["phase"], "RUNTIME_STATE_UNSPECIFIED"),
        "start_time": node["startedAt"],
        "child_tasks": [{"pod_name": child} for child in node["children"]],
    }
