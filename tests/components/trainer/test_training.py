"""Both trainings on small data: progress, resuming, errors, what they write."""

from __future__ import annotations

import logging
import types

import numpy as np
import pytest
import tensorflow as tf

from components.errors import PipelineError
from components.trainer import run, vqvae
from components.trainer.config import StageConfig, VQVAEStageConfig
from components.trainer.loop import Computing, Places, fit
from components.trainer.prior import PriorObjective
from components.trainer.progress import LOGGER
from components.trainer.records import parse_codes, read_pixel_variance
from components.trainer.source import Source
from models.config import ImageShape, NetworkConfig, PriorConfig
from models.export import restore_vqvae
from models.priors import GatedPixelCNN
from models.vqvae import VQVAE
from tests.fixtures.examples import write_codes, write_images
from tests.fixtures.trainer_settings import NETWORK, vqvae_settings

SHAPE = ImageShape(height=8, width=8, channels=1)


def digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return np.round(load_digits().images * 255 / 16).astype("uint8")[..., None]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    images = digits()
    return types.SimpleNamespace(
        train=write_images(folder, "train", images[:512])[0],
        held_out=write_images(folder, "eval", images[512:640])[0],
    )


def fn_args(files, folder, checkpoints, steps=30, network=NETWORK, **stage):
    stage = {"batch_size": 64, "evaluate_every": 10, "checkpoint_every": 10, **stage}
    stage = VQVAEStageConfig(steps=steps, **stage)
    settings = vqvae_settings(network=network, stage=stage, checkpoints=str(checkpoints))
    return types.SimpleNamespace(
        train_files=[files.train],
        eval_files=[files.held_out],
        serving_model_dir=str(folder / "Format-Serving"),
        model_run_dir=str(folder / "logs"),
        custom_config={"settings": settings.model_dump_json()},
    )


def weights(folder) -> list[np.ndarray]:
    model = VQVAE(NETWORK, data_variance=1.0, seed=99)
    restore_vqvae(model, str(folder / "Format-Serving"))
    return [variable.numpy() for variable in model.variables]


def test_trains_reports_and_exports(files, tmp_path, caplog):
    with caplog.at_level(logging.INFO, LOGGER.name):
        vqvae.run_fn(
            fn_args(files, tmp_path, tmp_path / "checkpoints", steps=120, learning_rate=3e-3)
        )
    progress = [record.progress for record in caplog.records if hasattr(record, "progress")]
    assert progress[-1].step == progress[-1].steps == 120
    assert progress[-1].eta == 0
    losses = [float(entry.values["nmse"]) for entry in progress]
    assert losses[-1] < 0.5 * losses[0]

    loaded = tf.saved_model.load(str(tmp_path / "Format-Serving"))
    codes = loaded.signatures["pixels"](images=tf.constant(digits()[:5]))["codes"]
    model = VQVAE(NETWORK, data_variance=1.0)
    restore_vqvae(model, str(tmp_path / "Format-Serving"))
    np.testing.assert_array_equal(codes, model.encode(digits()[:5]))


@pytest.fixture
def of_voices():
    voices = {
        "encoder": {**NETWORK.model.encoder.model_dump(), "instance_norm": True},
        "quantizer": NETWORK.model.quantizer,
        "decoder": {"conditional": True, "time_jitter": 0.2},
    }
    return NetworkConfig.model_validate({"image": NETWORK.image, "model": voices})


def with_labels(folder, labels: np.ndarray | None):
    images = digits()[:128]
    return types.SimpleNamespace(
        train=write_images(folder, "train", images, labels)[0],
        held_out=write_images(folder, "eval", images, labels)[0],
    )


def test_a_decoder_of_voices_is_trained(tmp_path, of_voices):
    files = with_labels(tmp_path, np.arange(128) % 3)
    vqvae.run_fn(fn_args(files, tmp_path, tmp_path / "checkpoints", 4, network=of_voices))
    model = VQVAE(of_voices, data_variance=1.0, seed=99, num_classes=3)
    restore_vqvae(model, str(tmp_path / "Format-Serving"))
    assert np.all(np.any(model.decoder.label.table.numpy(), axis=1))


def test_a_decoder_of_voices_needs_labels(tmp_path, of_voices):
    arguments = fn_args(with_labels(tmp_path, None), tmp_path, tmp_path, 4, network=of_voices)
    with pytest.raises(PipelineError, match=r"model\.decoder\.conditional is true, but no"):
        vqvae.run_fn(arguments)


def test_an_interrupted_training_ends_like_an_undisturbed_one(files, tmp_path, monkeypatch):
    vqvae.run_fn(fn_args(files, tmp_path / "whole", tmp_path / "a"))

    real_place, placed = vqvae.place_codebook, []

    def place(model, train, seed):
        placed.append(seed)
        real_place(model, train, seed)

    monkeypatch.setattr(vqvae, "place_codebook", place)
    real_evaluate = vqvae.VQVAEObjective.evaluate
    calls = []

    def evaluate(self, held_out):
        calls.append(1)
        if len(calls) == 2:  # at step 20, before its checkpoint
            raise KeyboardInterrupt
        return real_evaluate(self, held_out)

    monkeypatch.setattr(vqvae.VQVAEObjective, "evaluate", evaluate)
    with pytest.raises(KeyboardInterrupt):
        vqvae.run_fn(fn_args(files, tmp_path / "killed", tmp_path / "b"))
    assert not (tmp_path / "killed" / "Format-Serving").exists()
    vqvae.run_fn(fn_args(files, tmp_path / "resumed", tmp_path / "b"))
    assert len(placed) == 1
    for whole, resumed in zip(
        weights(tmp_path / "whole"), weights(tmp_path / "resumed"), strict=True
    ):
        np.testing.assert_array_equal(whole, resumed)


def goes_on_from(caplog) -> list[int]:
    return [int(r.message.rsplit(" ", 1)[1]) for r in caplog.records if "going on" in r.message]


def test_more_steps_go_on_where_fewer_ended(files, tmp_path, caplog):
    checkpoints = tmp_path / "checkpoints"
    with caplog.at_level(logging.INFO, LOGGER.name):
        vqvae.run_fn(fn_args(files, tmp_path / "a", checkpoints, steps=20))
        # Nothing of this changes what a step does.
        changes = {"evaluate_every": 5, "checkpoint_every": 7, "patience": 9}
        vqvae.run_fn(fn_args(files, tmp_path / "b", checkpoints, steps=30, **changes))
        assert goes_on_from(caplog) == [20]
        # Of the checkpoints of more steps than are asked for, none is taken.
        vqvae.run_fn(fn_args(files, tmp_path / "c", checkpoints, steps=10, checkpoint_every=10))
        assert goes_on_from(caplog) == [20]
        # Another learning rate is another training.
        vqvae.run_fn(fn_args(files, tmp_path / "d", checkpoints, steps=40, learning_rate=1e-3))
        assert goes_on_from(caplog) == [20]


def test_an_interrupted_prior_goes_on_with_its_dropout(tmp_path):
    rows = np.random.default_rng(0).integers(0, 8, (128, 3, 3))
    files = write_codes(tmp_path / "codes", "train", rows.astype("u1"))
    codes = Source(files, parse_codes((3, 3), 8), cache_bytes=2**20)

    def trained(steps: int, checkpoints: str) -> list[np.ndarray]:
        # At a constant rate, so that 10 steps are the first of 20.
        stage = StageConfig(steps=steps, batch_size=32, warmup=0.0, final_learning_rate=1.0)
        config = PriorConfig(layers=2, hidden_units=8, head_units=8, dropout=0.5)
        objective = PriorAlone(GatedPixelCNN(config, 8, 2, (3, 3)), None, seed=0)
        places = Places(str(tmp_path / checkpoints), str(tmp_path / "logs"))
        fit(objective, codes, codes, stage, 0, tf.distribute.get_strategy(), places)
        return [variable.numpy() for variable in objective.model.variables]

    whole = trained(20, "whole")
    trained(10, "resumed")
    for expected, resumed in zip(whole, trained(20, "resumed"), strict=True):
        np.testing.assert_array_equal(expected, resumed)


class PriorAlone(PriorObjective):
    """A prior without a decoder to show its samples with."""

    def show(self, step):
        pass


@pytest.mark.parametrize(
    ("gpu", "asked", "compiled"),
    [(True, "auto", True), (False, "auto", False), (True, False, False), (False, True, True)],
)
def test_steps_are_compiled_on_a_gpu_or_where_it_is_asked_for(
    files, tmp_path, monkeypatch, gpu, asked, compiled
):
    seen = []
    monkeypatch.setattr(run, "has_gpu", lambda: gpu)
    monkeypatch.setattr(run, "fit", lambda *arguments, **others: seen.append(arguments[-1]))
    data, objective = run.Data(None, None), types.SimpleNamespace(stage="vqvae")
    strategy = tf.distribute.get_strategy()
    settings = vqvae_settings(jit_compile=asked, steps_per_call=7)
    run.train(objective, data, strategy, settings, fn_args(files, tmp_path, tmp_path))
    assert seen == [Computing(jit_compile=compiled, precision="float32", steps_per_call=7)]


def test_a_loss_that_is_no_number_stops_with_advice(files, tmp_path):
    args = fn_args(files, tmp_path, tmp_path / "checkpoints", learning_rate=1e30, warmup=0.0)
    with pytest.raises(
        PipelineError, match=r"loss has not been finite since step \d, .*learning_rate"
    ):
        vqvae.run_fn(args)


def test_images_without_variance_are_refused(tmp_path):
    flat = write_images(tmp_path, "train", np.zeros((3, 8, 8, 1), "uint8"))
    with pytest.raises(PipelineError, match="all alike"):
        read_pixel_variance(flat)


@pytest.mark.parametrize(("num_codes", "dtype"), [(256, "u1"), (1000, "<u2"), (2**17, "<i4")])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4)], ids=["one code", "groups"])
def test_codes_are_read_in_the_shape_of_the_prior(num_codes, dtype, shape):
    codes = np.random.default_rng(0).integers(0, num_codes, (5, *shape))
    parsed = parse_codes(shape, num_codes)(tf.constant(code_examples(codes.astype(dtype))))
    np.testing.assert_array_equal(parsed["codes"], codes)
    assert parsed["codes"].dtype == "int32"


def test_codes_of_another_configuration_are_refused(tmp_path):
    codes = np.zeros((3, 4, 4), "<u2")
    for place, (shape, num_codes) in enumerate((((4, 4), 256), ((2, 4), 1000), ((8, 8), 1000))):
        files = write_codes(tmp_path / str(place), "train", codes)
        with pytest.raises(PipelineError, match="does not fit this configuration"):
            Source(files, parse_codes(shape, num_codes), 2**20)


def code_examples(rows) -> list[bytes]:
    """Examples as the Tokenizer writes them."""
    examples = []
    for row in rows:
        example = tf.train.Example()
        example.features.feature["codes"].bytes_list.value.append(row.tobytes())
        example.features.feature["label"].int64_list.value.append(1)
        examples.append(example.SerializeToString())
    return examples
