"""What ends a training before its last step, and what it leaves; and which weights it ends with."""

from __future__ import annotations

import importlib.metadata
import os
import resource
import signal
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from components.errors import PipelineError, notes
from components.trainer import run
from components.trainer.checkpoints import Checkpoints
from components.trainer.config import StageConfig, VQVAEStageConfig
from components.trainer.loop import Computing, Places, fit
from components.trainer.preemption import Preempted
from components.trainer.records import parse_images
from components.trainer.source import Source
from components.trainer.vqvae import VQVAEObjective
from models.config import ImageShape
from models.precision import precision
from models.vqvae import VQVAE
from tests.fixtures.examples import write_images
from tests.fixtures.trainer_settings import NETWORK, vqvae_settings

SHAPE = ImageShape(height=8, width=8, channels=1)


class Objective(VQVAEObjective):
    """A VQ-VAE; `described` and `evaluated` are called at those moments, with the step."""

    def __init__(self, bad_steps=(), held=None, **arguments):
        super().__init__(VQVAE(NETWORK, 0.14, seed=1), tf.zeros([0]), **arguments)
        self._bad_steps = tf.constant([-1, *bad_steps], tf.int64)
        self._held = held
        self.calls = {"described": 0, "evaluated": 0}
        self.described = self.evaluated = lambda call: None

    def loss(self, batch, step, part):
        values = super().loss(batch, step, part)
        bad = tf.reduce_any(step == self._bad_steps)
        return {**values, "loss": values["loss"] * tf.where(bad, np.nan, 1.0)}

    def describe(self, means):
        self.calls["described"] += 1
        self.described(self.calls["described"])
        return super().describe(means)

    def evaluate(self, held_out):
        self.calls["evaluated"] += 1
        self.evaluated(self.calls["evaluated"])
        return {"nmse": self._held[self.calls["evaluated"] - 1] if self._held else 1.0}

    def show(self, step):
        pass


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    images = np.round(load_digits().images[:256] * 255 / 16).astype("uint8")[..., None]
    files = write_images(tmp_path_factory.mktemp("images"), "train", images)
    return Source(files, parse_images(SHAPE), 2**24)


def trained(objective, source, checkpoints, logs, **changes) -> Objective:
    # At a constant rate, so that the first steps do not depend on how many follow.
    settings = {"learning_rate": 1e-2, "warmup": 0.0, "final_learning_rate": 1.0}
    settings |= {"batch_size": 32, "evaluate_every": 10, "checkpoint_every": 10}
    stage = StageConfig(**(settings | changes))
    places = Places(str(checkpoints), str(logs))
    fit(objective, source, source, stage, 0, tf.distribute.get_strategy(), places)
    return objective


@pytest.fixture
def train(source, tmp_path):
    def run(objective: Objective, steps: int, name: str = "a", **changes) -> Objective:
        return trained(
            objective, source, tmp_path / name, tmp_path / "logs", steps=steps, **changes
        )

    return run


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory) -> list[np.ndarray]:
    """The weights after 30 steps that nothing stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return state(trained(Objective(), source, folder / "a", folder / "logs", steps=30))


def state(objective: Objective) -> list[np.ndarray]:
    return [variable.numpy() for variable in objective.model.variables]


def assert_same(one: Objective, other: list[np.ndarray]) -> None:
    for left, right in zip(state(one), other, strict=True):
        np.testing.assert_array_equal(left, right)


def steps_kept(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("ckpt-")) for path in folder.glob("*.index"))


def test_a_step_that_is_not_finite_changes_nothing(train):
    skipped = train(Objective(bad_steps=[12, 13]), steps=14)
    assert_same(skipped, state(train(Objective(), steps=12, name="b")))


def test_training_goes_on_after_a_skipped_step(train):
    skipped = train(Objective(bad_steps=[3]), steps=40)
    assert all(np.all(np.isfinite(each)) for each in state(skipped))


def test_too_many_skipped_steps_stop_and_name_step_and_tensor(train, tmp_path):
    with pytest.raises(
        PipelineError, match="the loss has not been finite since step 16, and 5 steps were skipped"
    ):
        train(Objective(bad_steps=range(15, 40)), steps=40, max_skipped_steps=5)
    assert steps_kept(tmp_path / "a") == [10]


def test_a_gradient_that_is_not_finite_is_named(train):
    class Rooted(Objective):
        def loss(self, batch, step, part):
            values = super().loss(batch, step, part)
            bias = self.model.decoder.trainable_variables[-1]
            # 0, with an infinite slope.
            return {**values, "loss": values["loss"] + tf.sqrt(0.0 * tf.reduce_sum(bias))}

    with pytest.raises(
        PipelineError, match=r"gradient of decoder.*bias has not been finite since step 1,"
    ):
        train(Rooted(), steps=40)


def test_a_collapsed_codebook_stops_with_advice(train):
    collapsing = Objective(min_code_usage=0.9)
    for variable in collapsing.model.quantizer.variables:
        if variable.name in ("embedding", "sums"):
            variable.assign(1e3 + np.zeros(variable.shape))
    with pytest.raises(PipelineError, match=r"collapsed, \d of 8 codes are in use .*ema"):
        train(collapsing, steps=40, max_skipped_steps=40)


def test_sigterm_leaves_a_checkpoint_and_the_rerun_ends_the_same(train, undisturbed, tmp_path):
    stopped = Objective()
    stopped.described = lambda call: call == 4 and os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Preempted, match="SIGTERM at step 24 of 30"):
        train(stopped, steps=30, checkpoint_every=8, evaluate_every=100)
    assert 24 in steps_kept(tmp_path / "a")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert_same(train(Objective(), steps=30, checkpoint_every=8), undisturbed)


def test_a_full_disk_loses_no_checkpoint(train, undisturbed, tmp_path):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = Objective()
    # From the second evaluation on no file can grow beyond a few kB.
    full.evaluated = lambda call: (
        call == 2 and resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
    )
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(PipelineError, match=r"checkpoint of step 20 .*ckpt-10, is intact"):
            train(full, steps=30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        signal.signal(signal.SIGXFSZ, handler)
    assert steps_kept(tmp_path / "a") == [10]
    assert not list((tmp_path / "a").glob("ckpt-20*"))
    assert_same(train(Objective(), steps=30), undisturbed)


def test_what_cannot_be_cleaned_up_hides_no_full_disk(tmp_path, monkeypatch):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    def busy(_):
        raise tf.errors.UnavailableError(None, None, "busy")

    checkpoints = Checkpoints(str(tmp_path), {"loop": [keras.Variable(0.0)]}, keep=1)
    monkeypatch.setattr(tf.train.Checkpoint, "_write", full)
    monkeypatch.setattr(tf.io.gfile, "glob", busy)
    with pytest.raises(PipelineError, match=r"step 3 cannot be .* left on device") as failed:
        checkpoints.save(3)
    assert notes(failed.value) == ["also: what was written of it is left (UnavailableError: busy)"]


def test_an_upgrade_that_changes_weights_begins_anew_and_others_go_on(tmp_path, monkeypatch):
    places = []
    monkeypatch.setattr(run, "fit", lambda *values, **_: places.append(values[6].checkpoints))
    settings = vqvae_settings(stage=VQVAEStageConfig(steps=1), checkpoints="here")
    shape = (6, *SHAPE.hwc)
    train_files = write_images(tmp_path / "one", "train", np.zeros(shape, np.uint8))
    files = types.SimpleNamespace(train_files=train_files, model_run_dir="")
    data = run.Data(None, None)
    installed = importlib.metadata.version
    for upgraded in (None, "tfx", "keras", "tensorflow"):
        monkeypatch.setattr(
            importlib.metadata,
            "version",
            lambda name, new=upgraded: "99" if name == new else installed(name),
        )
        run.train(Objective(), data, tf.distribute.get_strategy(), settings, files)
    before, tfx, keras, tensorflow = places
    assert before == tfx
    assert len({before, keras, tensorflow}) == 3


def test_other_data_of_the_same_size_begins_anew_and_a_copy_goes_on(tmp_path, monkeypatch):
    places = []
    monkeypatch.setattr(run, "fit", lambda *values, **_: places.append(values[6].checkpoints))
    settings = vqvae_settings(stage=VQVAEStageConfig(steps=1), checkpoints="here")
    images = np.zeros((3, 6, *SHAPE.hwc), np.uint8)
    images[2, 0, 0, 0] = 1  # not the last image, whose checksum the file ends with
    for number, each in enumerate(images):
        train_files = write_images(tmp_path / str(number), "train", each)
        files = types.SimpleNamespace(train_files=train_files, model_run_dir="")
        strategy = tf.distribute.get_strategy()
        run.train(Objective(), run.Data(None, None), strategy, settings, files)
    one, copy, other = places
    assert one == copy != other


def test_weights_to_begin_with_that_are_missing_are_named(tmp_path):
    settings = vqvae_settings(stage=VQVAEStageConfig(steps=1), checkpoints="here")
    train_files = write_images(tmp_path, "train", np.zeros((6, *SHAPE.hwc), np.uint8))
    files = types.SimpleNamespace(train_files=train_files, model_run_dir="")
    strategy, missing = tf.distribute.get_strategy(), str(tmp_path / "variables.data-*")
    with pytest.raises(PipelineError, match=r"no files match .*variables\.data-\*"):
        run.train(Objective(), run.Data(None, None), strategy, settings, files, [missing])


def test_the_last_checkpoints_and_the_best_are_kept(train, tmp_path):
    train(Objective(held=[3.0, 1.0, 2.0, 4.0]), steps=40, keep_checkpoints=2)
    assert steps_kept(tmp_path / "a") == [30, 40]
    assert steps_kept(tmp_path / "a" / "best") == [20]


def test_patience_ends_training_with_the_best_weights(train, tmp_path):
    held = [3.0, 1.0, 2.0, 1.5, 0.1, 0.1]
    stopped = train(Objective(held=held), steps=100, patience=2)
    assert stopped.calls["described"] == 5  # the first step is a call of its own
    assert_same(stopped, state(train(Objective(), steps=20, name="b")))


def test_averaged_weights_are_evaluated_and_kept(train):
    decay, raw = 0.8, []
    objective = Objective()
    objective.described = lambda call: raw.append(trainable(objective))
    seen = []
    objective.evaluated = lambda call: seen.append(trainable(objective))
    train(objective, steps=12, evaluate_every=1, weight_ema=decay)
    average = raw[0]
    for step, weights in enumerate(raw):
        if step:
            average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
        for expected, found in zip(average, seen[step], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    for expected, found in zip(average, trainable(objective), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_profile_of_the_steps_asked_for(train, tmp_path):
    train(Objective(), steps=12, profile_steps=(4, 6))
    assert list((tmp_path / "logs").rglob("*.xplane.pb"))


def trainable(objective: Objective) -> list[np.ndarray]:
    return [variable.numpy() for variable in objective.model.trainable_variables]


def test_16_bit_training_learns_as_well(source, tmp_path):
    def error_of(kind: str) -> float:
        with precision(kind):
            objective = VQVAEObjective(VQVAE(NETWORK, 0.14, seed=1), tf.zeros([0], tf.uint8))
        objective.show = lambda step: None
        stage = StageConfig(steps=60, batch_size=64, learning_rate=1e-2, evaluate_every=60)
        places = Places(str(tmp_path / kind), str(tmp_path / "logs"))
        strategy = tf.distribute.get_strategy()
        computing = Computing(precision=kind)
        held = fit(objective, source, source, stage, 0, strategy, places, computing)
        for variable in objective.model.variables:
            assert not variable.dtype.endswith("16"), variable.path
        return held["nmse"]

    largest = 1.2 * error_of("float32")
    assert error_of("bfloat16") < largest
    assert error_of("float16") < largest
