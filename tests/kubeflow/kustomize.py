"""What `kubectl kustomize` makes of the manifests, as far as they use it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml


def documents(path: Path) -> list[dict[str, Any]]:
    """The objects of a file."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def rendered(folder: Path, component: str | None = None) -> list[dict[str, Any]]:
    """The objects of a kustomization, changed by a component of it where one is named.

    Of a component only JSON patches (RFC 6902) with targets by kind and name are known, as
    anything else would be passed over; it is an error.
    """
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    objects = [each for name in kustomization["resources"] for each in documents(folder / name)]
    if component is None:
        return objects
    changes = yaml.safe_load((folder / component / "kustomization.yaml").read_text())
    assert changes.pop("apiVersion") == "kustomize.config.k8s.io/v1alpha1"
    assert changes.pop("kind") == "Component"
    patches = changes.pop("patches")
    assert not changes
    for patch in patches:
        assert set(patch) == {"target", "patch"}
        (target,) = [
            each
            for each in objects
            if patch["target"] == {"kind": each["kind"], "name": each["metadata"]["name"]}
        ]
        for operation in yaml.safe_load(patch["patch"]):
            _apply(target, **operation)
    return objects


def _apply(target: Any, op: str, path: str, value: Any = None) -> None:
    *parents, last = path.removeprefix("/").split("/")
    for name in parents:
        target = target[_key(target, name)]
    value = copy.deepcopy(value)
    if op == "add" and isinstance(target, list):
        target.insert(len(target) if last == "-" else int(last), value)
        return
    key = _key(target, last)
    if op != "add":
        _ = target[key]  # it is there, or this is an error
    if op == "test":
        assert target[key] == value, f"{path}: {target[key]!r}, not {value!r}"
    elif op == "remove":
        del target[key]
    else:
        assert op in ("add", "replace")
        target[key] = value


def _key(target: Any, name: str) -> str | int:
    return int(name) if isinstance(target, list) else name.replace("~1", "/").replace("~0", "~")
