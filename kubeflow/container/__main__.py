"""`python -m kubeflow.container`: runs one task of the compiled pipeline.

The command of every task. It takes the arguments of TFX's own container entrypoint, with the
component's id and `--override` in addition (`kubeflow.container.overrides`), with `--data-root`
where payloads are kept apart from artifacts (`kubeflow.container.payloads`) and, for a Trainer of
several workers, with `--training-job` (`kubeflow.training_job`); the rest is for Beam.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from components.errors import one_line
from kubeflow.container import executor_input, executor_output, log, overrides
from kubeflow.container.artifact_uris import ArtifactUris
from kubeflow.container.payloads import Payloads
from kubeflow.container.verdict import format_verdict

Json = dict[str, Any]

# The driver puts the id of the run here; `KFP_RUN_ID` has it too.
RUN_ID_PLACEHOLDER = "{{$.pipeline_job_uuid}}"
_EXAMPLE_GEN = "components.example_gen.executor.Executor"
_PUSHER = "components.pusher.executor.Executor"


def run(arguments: Sequence[str]) -> None:
    """Runs a task: its artifacts are read and written where the launcher or a volume has them."""
    options, beam_args = _parser().parse_known_args(arguments)
    payloads = Payloads(options.data_root, options.component) if options.data_root else None
    with payloads or contextlib.nullcontext():
        _run(options, beam_args, payloads)


def _run(options: argparse.Namespace, beam_args: list[str], payloads: Payloads | None) -> None:
    given = json.loads(options.json_serialized_invocation_args)
    inputs_spec = json.loads(options.json_serialized_inputs_spec_args)
    invocation = executor_input.prepare(given, inputs_spec, payloads)
    places = executor_input.places(given, invocation)
    overrides.fold(invocation, options.override)
    _fill_in_run_id(invocation)

    driven: Json = {}
    if options.executor_class_path == _EXAMPLE_GEN:
        from kubeflow.container import example_gen

        driven = example_gen.drive(invocation, payloads.scratch() if payloads else None)
    if options.training_job:
        from kubeflow.training_job import task
        from kubeflow.training_job.settings import TrainingJobSettings

        workers = TrainingJobSettings.model_validate_json(options.training_job)
        executor = options.executor_class_path
        root = options.data_root
        task.run(workers, options.component, executor, invocation, inputs_spec, data_root=root)
    else:
        options.json_serialized_invocation_args = json.dumps(invocation)
        from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

        from pipeline.engines import submission

        with submission.submitted(beam_args, options.component) as own:
            kubeflow_v2_run_executor.main((options, own))
    written = invocation["outputs"]["outputFile"]
    output = executor_output.finish(written, given["outputs"], ArtifactUris(places), driven)
    if payloads:
        payloads.publish(places)
    if options.executor_class_path == _PUSHER:
        _tell(executor_output.metadata(output, "pushed_model"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m kubeflow.container", allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", default="{}")
    parser.add_argument("--override", action="append", default=[], metavar="PARAMETER=PLACE")
    parser.add_argument("--component", required=True)
    parser.add_argument("--data-root", metavar="PATH")
    parser.add_argument("--training-job", metavar="JSON")
    return parser


def _fill_in_run_id(invocation: Json) -> None:
    """For a backend that leaves the placeholder as it is."""
    values = invocation.get("inputs", {}).get("parameterValues", {})
    for name, value in values.items():
        if value == RUN_ID_PLACEHOLDER and "KFP_RUN_ID" in os.environ:
            values[name] = os.environ["KFP_RUN_ID"]


def _tell(pushed: Json) -> None:
    """The last line of the Pusher's log, by which `vqvae submit` knows what came of the run."""
    released = int(pushed["pushed_version"]) if pushed.get("pushed") else None
    print(format_verdict(released, pushed.get("reason", "")), flush=True)


def main() -> None:
    """Entry point: the traceback for whoever mends it, the last line for whoever runs it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    log.set_up()
    try:
        run(sys.argv[1:])
    except Exception as error:
        traceback.print_exc()
        sys.exit(f"error: {one_line(error)}")


if __name__ == "__main__":
    main()
