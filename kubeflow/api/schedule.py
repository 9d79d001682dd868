"""Recurring runs by name, so that applying one twice leaves one.

Kubeflow cannot change a recurring run, and lets several have one name. What was applied is
therefore kept as a hash in the description: the same again changes nothing; another is created
first and its predecessors deleted then, since no moment without one is wanted, and deleting one
may end the run that it has going.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from components.errors import PipelineError
from kubeflow.api import package as packages
from kubeflow.api.client import Connection
from kubeflow.api.package import Package
from kubeflow.api.submit import find_experiment

if TYPE_CHECKING:
    import kfp

_MARK = re.compile(r"\bvqvae-schedule:([0-9a-f]{16})\b")
_PAGE = 100


@dataclasses.dataclass(frozen=True)
class Applied:
    """What `apply` did.

    Attributes:
        schedule_id: of the one that there is now.
        created: whether it is new.
        paused: whether it does not fire, as its predecessor did not.
        replaced: how many older ones are gone.
        foreign: ids of schedules of the same name that somebody else made; they are left.
    """

    schedule_id: str
    created: bool
    paused: bool
    replaced: int
    foreign: tuple[str, ...]


def apply(
    client: kfp.Client,
    connection: Connection,
    package: Package,
    name: str,
    cron: str,
    experiment: str,
    parameters: dict[str, Any],
    pipeline_root: str,
    service_account: str | None = None,
) -> Applied:
    """Sees to it that one schedule of this name exists and is as given; paused if it was.

    Args:
        cron: six fields, checked (`kubeflow.api.cron.check`).

    Raises:
        PipelineError: the API refuses it.
    """
    pipeline_id, version_id, _ = packages.upload(client, connection, package)
    experiment_id = find_experiment(client, connection, experiment)
    facts = [version_id, cron, experiment_id, parameters, pipeline_root, service_account]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    found = [each for each in schedules(client, connection) if each.display_name == name]
    ours = [each for each in found if mark(each)]
    foreign = tuple(each.recurring_run_id for each in found if not mark(each))
    # A deployment that applies it again must not undo a person's pause.
    paused = bool(ours) and not any(map(is_enabled, ours))
    same = [each for each in ours if mark(each) == digest and is_enabled(each) != paused]
    created = not same
    if created:
        # Not twice: an answer that was lost may have made one, which the next apply then finds.
        with connection.errors():
            kept = client.create_recurring_run(
                experiment_id,
                name,
                description=f"made by vqvae schedule apply; vqvae-schedule:{digest}",
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                params=parameters,
                pipeline_id=pipeline_id,
                version_id=version_id,
                enabled=not paused,
                pipeline_root=pipeline_root,
                service_account=service_account,
            ).recurring_run_id
    else:
        kept = same[0].recurring_run_id
    stale = [each.recurring_run_id for each in ours if each.recurring_run_id != kept]
    for schedule_id in stale:
        connection.patiently(functools.partial(client.delete_recurring_run, schedule_id))
    return Applied(kept, created, paused, len(stale), foreign)


def schedules(client: kfp.Client, connection: Connection) -> list[Any]:
    """All recurring runs, V2beta1RecurringRun."""
    found: list[Any] = []
    token = ""
    while True:
        page = connection.patiently(
            functools.partial(
                client.list_recurring_runs,
                page_token=token,
                page_size=_PAGE,
                namespace=connection.namespace,
            )
        )
        found += page.recurring_runs or []
        token = page.next_page_token or ""
        if not token:
            return found


def named(client: kfp.Client, connection: Connection, name: str) -> list[Any]:
    """The schedules of a name that `apply` made.

    Raises:
        PipelineError: there is none.
    """
    every = [each for each in schedules(client, connection) if mark(each)]
    found = [each for each in every if each.display_name == name]
    if not found:
        known = ", ".join(sorted({each.display_name for each in every})) or "none"
        raise PipelineError(f"no schedule {name!r}; there are: {known}")
    return found


def change(client: kfp.Client, connection: Connection, name: str, verb: str) -> None:
    """Does `enable`, `disable` or `delete` to the schedules of a name.

    Raises:
        PipelineError: there is none, or the API refuses it.
    """
    method = getattr(client, f"{verb}_recurring_run")
    for each in named(client, connection, name):
        connection.patiently(functools.partial(method, each.recurring_run_id))


def version_name(client: kfp.Client, connection: Connection, schedule: Any) -> str:
    """Name of the pipeline version that a schedule runs; its id where it has been deleted."""
    reference = schedule.pipeline_version_reference
    try:
        return connection.patiently(
            lambda: client.get_pipeline_version(
                reference.pipeline_id, reference.pipeline_version_id
            )
        ).display_name
    except PipelineError:
        return reference.pipeline_version_id


def is_enabled(schedule: Any) -> bool:
    """Whether it fires."""
    return schedule.status != "DISABLED"


def mark(schedule: Any) -> str:
    """The hash that `apply` left in a schedule; empty for one that it did not make."""
    found = _MARK.search(schedule.description or "")
    return found.group(1) if found else ""
