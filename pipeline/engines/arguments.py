"""The `beam` section of a configuration as the arguments that Beam takes."""

from __future__ import annotations

from pipeline.config.beam import BeamConfig

# Beam stages nothing, and TFX does not pack itself up, where an image for the workers is named.
# No image is pulled: the workers are there, and have the code.
_NOTHING_IS_STAGED = "--sdk_container_image=none-the-workers-have-the-code"

_LONGEST_JOB = 30 * 24 * 3600  # seconds


def beam_arguments(config: BeamConfig) -> list[str]:
    """What Beam is given for every job; none for the direct runner in this process.

    They are part of the cache keys. What differs between two jobs is added when one is submitted,
    by `pipeline.engines.submission`.
    """
    return [*_runner(config), *config.args]


def _runner(config: BeamConfig) -> list[str]:
    if config.runner == "flink":
        flink = config.flink
        return [
            "--runner=FlinkRunner",
            f"--flink_master={flink.master}",
            f"--flink_job_server_jar={flink.job_server_jar}",
            # Python submits the job itself, by Flink's REST API, and needs no Java.
            "--flink_submit_uber_jar",
            f"--parallelism={flink.parallelism}",
            f"--sdk_worker_parallelism={flink.workers_per_pool}",
            *_workers(flink.worker_pool),
        ]
    if config.runner == "portable":
        portable = config.portable
        return [
            "--runner=PortableRunner",
            f"--job_endpoint={portable.job_endpoint}",
            # Beam would take its five minutes for an answer as the longest that a job may last.
            f"--job_server_timeout={_LONGEST_JOB}",
            *_workers(portable.worker_pool),
        ]
    if config.runner == "dataflow":
        return ["--runner=DataflowRunner"]
    if config.workers > 1:
        return [
            "--runner=DirectRunner",
            "--direct_running_mode=multi_processing",
            f"--direct_num_workers={config.workers}",
            _NOTHING_IS_STAGED,
        ]
    return []


def _workers(pool: str) -> list[str]:
    return [
        "--environment_type=EXTERNAL",
        f"--environment_config={pool}",
        _NOTHING_IS_STAGED,
        # Otherwise a list of the installed packages is staged.
        "--experiments=disable_logging_submission_environment",
    ]
