"""The `beam` section: mistakes are named, and what Beam is given."""

from __future__ import annotations

import pytest
from apache_beam.options import pipeline_options

from pipeline.config.config import ConfigError, load
from pipeline.engines.arguments import beam_arguments

FLINK = "flink: {master: 'flink:8081', job_server_jar: /jars/job-server.jar, parallelism: 4}"


def beam(*overrides: str):
    return load("digits", overrides).beam


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("beam.runner=spark", "beam.runner: input should be 'direct', 'flink', 'portable' or"),
        ("beam.worker=2", "unknown key 'beam.worker'; did you mean 'beam.workers'?"),
        ("beam.workers=0", "beam.workers: input should be greater than 0"),
        ("beam.runner=flink", "beam.flink.master is missing, which beam.runner flink needs"),
        ("beam={runner: flink, flink: {master: 'a:1'}}", "beam.flink.job_server_jar is missing"),
        ("beam.runner=portable", "beam.portable.job_endpoint is missing"),
        ("beam.portable.job_endpoint=flink", "beam.portable.job_endpoint: must be HOST:PORT"),
        ("beam.flink.worker_pool=here:99999", "beam.flink.worker_pool: must be HOST:PORT"),
        (f"beam={{runner: flink, workers: 2, {FLINK}}}", "beam.workers is of the direct runner"),
        ("beam.args=[--runner=FlinkRunner]", "beam.args: --runner contradicts beam.runner"),
        ("beam.args=[--direct_num_workers, '4']", "--direct_num_workers contradicts beam.workers"),
        ("beam.args=[--parallelism=2]", "--parallelism contradicts beam.flink.parallelism"),
        ("beam={runner: dataflow}", "beam.args: --project=… is missing, which dataflow needs"),
    ],
)
def test_mistakes_are_named(setting, message):
    with pytest.raises(ConfigError) as error:
        beam(setting)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_direct_runner_in_this_process_needs_no_arguments():
    assert beam_arguments(beam()) == []


def understood(*overrides: str) -> dict:
    """What Beam makes of the arguments."""
    options = pipeline_options.PipelineOptions(beam_arguments(beam(*overrides)))
    return options.get_all_options(drop_default=True)


def test_several_workers_of_the_direct_runner_are_processes():
    options = understood("beam.workers=3")
    assert options["direct_num_workers"] == 3
    assert options["direct_running_mode"] == "multi_processing"
    assert options["sdk_container_image"]  # or TFX would pack itself up for each component


def test_flink_gets_the_job_and_its_workers_from_the_pool():
    options = understood(f"beam={{runner: flink, {FLINK}, args: [--max_parallelism=8]}}")
    assert options["runner"] == "FlinkRunner"
    assert options["flink_master"] == "flink:8081"
    assert options["flink_submit_uber_jar"] is True
    assert options["parallelism"] == 4
    assert options["max_parallelism"] == 8
    # Without, a job for another machine wants Docker there.
    assert options["environment_type"] == "EXTERNAL"
    assert options["environment_config"] == "localhost:50000"


def test_nothing_is_staged():
    from apache_beam.runners.portability.stager import Stager

    options = pipeline_options.PipelineOptions(
        beam_arguments(beam(f"beam={{runner: flink, {FLINK}}}"))
    )
    assert Stager.create_job_resources(options, "/tmp") == []


def test_dataflow_has_its_settings_in_args():
    given = [f"--{n}=x" for n in ("project", "region", "temp_location", "sdk_container_image")]
    options = beam_arguments(beam(f"beam={{runner: dataflow, args: {given}}}"))
    assert options == ["--runner=DataflowRunner", *given]
