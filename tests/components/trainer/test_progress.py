"""What a training says of its speed."""

from __future__ import annotations

import logging
import math

import pytest
import tensorflow as tf

from components.trainer import progress
from components.trainer.progress import LOGGER, Meter
from components.trainer.utilisation import peak_flops


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are assigned."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_first_step_is_timed_by_itself_and_the_others_by_device(clock, caplog):
    meter = Meter("vqvae", 7, 108, 64, devices=4, seconds_at_peak=2e-4)
    with caplog.at_level(logging.INFO, LOGGER.name):
        clock[0] += 12.34
        assert meter.report(8, {}) is None
        clock[0] += 5.0
        found = meter.report(58, {"nmse": "0.1"})
    assert caplog.messages == [
        "vqvae: first step after 12.3 s, compilation included",
        "vqvae: step 58/108 · 640 images/s (160 a device) · MFU 3.2% · ETA 0:05 · nmse 0.1",
    ]
    assert found.scalars == pytest.approx(
        {"images_per_second": 640.0, "images_per_second_per_device": 160.0, "mfu": 0.032}
    )


def test_what_is_not_known_is_not_shown(clock):
    meter = Meter("prior", 0, 100, 10)
    meter.report(1, {})
    clock[0] += 1.0
    found = meter.report(11, {})
    assert str(found).startswith("prior: step 11/100 · 100 images/s · ETA 0:09")
    assert set(found.scalars) == {"images_per_second", "images_per_second_per_device"}


@pytest.mark.parametrize(
    ("name", "single", "half"),
    [
        ("NVIDIA H100 80GB HBM3", 67e12, 989e12),
        ("NVIDIA H100 PCIe", 51e12, 756e12),
        ("NVIDIA L4", 30.3e12, 121e12),
        ("NVIDIA L40S", 91.6e12, 362e12),
        ("Some Other GPU", math.nan, math.nan),
    ],
)
def test_the_peak_is_that_of_the_device_and_the_precision(monkeypatch, name, single, half):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    details = {"device_name": name}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    assert peak_flops("float32") == pytest.approx(single, nan_ok=True)
    assert peak_flops("bfloat16") == pytest.approx(half, nan_ok=True)
