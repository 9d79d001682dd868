"""Which devices and machines train together."""

from __future__ import annotations

import json
import os

import tensorflow as tf

from components.errors import PipelineError
from components.trainer.config import StrategyName

# Longest wait for the other machines in one reduction, seconds; the first steps, which each of
# them compiles at its own pace, must fit in.
_PATIENCE = 600.0


def build_strategy(name: StrategyName) -> tf.distribute.Strategy:
    """The strategy of a training. To be called before TensorFlow is used for anything else.

    Args:
        name: `one_device`; `mirrored`: all GPUs of this machine (all logical CPUs, where tests
            have made several and there is no GPU); `multi_worker`: all machines of TF_CONFIG;
            `auto`: the most of these that there is.

    Raises:
        PipelineError: `multi_worker` without a cluster, `mirrored` with a single device.
    """
    workers = _workers()
    if name == "multi_worker" and workers < 2:
        raise PipelineError(
            "training.strategy is multi_worker, but the environment variable TF_CONFIG names "
            f"{workers} workers; start one process per worker with TF_CONFIG set, or use auto"
        )
    if name == "multi_worker" or (name == "auto" and workers > 1):
        options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=_PATIENCE)
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    devices = [device.name for device in tf.config.list_logical_devices("GPU")]
    if name == "mirrored":
        devices = devices or [device.name for device in tf.config.list_logical_devices("CPU")]
        if len(devices) < 2:
            raise PipelineError(
                "training.strategy is mirrored, but this machine has a single device; use auto"
            )
    if name != "one_device" and len(devices) > 1:
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes what all of them have."""
    if num_workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Processes that train together."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    cluster = strategy.cluster_resolver.cluster_spec()
    return max(1, sum(len(cluster.job_tasks(job)) for job in cluster.jobs))


def _workers() -> int:
    text = os.environ.get("TF_CONFIG", "")
    try:
        cluster = json.loads(text or "{}").get("cluster", {})
        return len(cluster.get("chief", [])) + len(cluster.get("worker", []))
    except (ValueError, AttributeError, TypeError) as error:
        raise PipelineError(f"the environment variable TF_CONFIG is not valid: {error}") from error
