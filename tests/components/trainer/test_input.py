"""Training input: every record once per epoch, in an order that can be taken up at any step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components import features
from components.trainer.augment import Augment
from components.trainer.records import parse_images
from components.trainer.source import Share, Source
from tests import ROOT
from tests.fixtures.examples import write_images
from tests.fixtures.numbered import SHAPE, numbers, write

COUNT = 100


@pytest.fixture(params=["in memory", "streamed", "streamed, 5 files"])
def source(request, tmp_path) -> Source:
    files = write(tmp_path, range(COUNT), files=5 if "files" in request.param else 1)
    cache = 0 if "streamed" in request.param else 2**20
    # Blocks of about 17 records.
    found = Source(files, parse_images(SHAPE), cache, shuffle_bytes=5400)
    assert found.in_memory == bool(cache)
    return found


def test_every_record_once_per_epoch_in_another_order(source):
    seen = numbers(source.batches(30, seed=5), 10).reshape(3, COUNT)
    for epoch in seen:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(COUNT))
    assert np.any(seen[0] != seen[1])
    once = numbers(source.once(32), 10)
    np.testing.assert_array_equal(np.sort(once), np.arange(COUNT))
    np.testing.assert_array_equal(numbers(source.once(20), 10), once)


def test_another_seed_is_another_order(source):
    orders = [numbers(source.batches(50, seed=seed), 2) for seed in (1, 2, 1)]
    assert np.any(orders[0] != orders[1])
    np.testing.assert_array_equal(orders[0], orders[2])


@pytest.mark.parametrize("start", [2, 5, 33])
@pytest.mark.parametrize("share", [Share(), Share(2, 2, 4)], ids=["whole", "shared"])
def test_batches_from_a_later_step_are_those_of_the_whole_run(source, start, share):
    per_step = share.count
    whole = numbers(source.batches(20, 5, share=share), (start + 3) * per_step)
    later = numbers(source.batches(20, 5, start=start, share=share), 3 * per_step)
    np.testing.assert_array_equal(later, whole[-len(later) :])


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_replicas_and_processes_share_every_epoch(source, processes):
    count = 4 // processes
    shares = [Share(first, count, 4) for first in range(0, 4, count)]
    # 100 records in batches of 20: an epoch is five steps.
    seen = [numbers(source.batches(20, 5, share=share), 5 * count) for share in shares]
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(COUNT))


@pytest.mark.parametrize("share_count", [1, 2])
def test_in_memory_a_batch_is_the_same_however_it_is_shared(tmp_path, share_count):
    source = Source(write(tmp_path, range(COUNT)), parse_images(SHAPE), 2**20)
    whole = numbers(source.batches(20, 5), 12).reshape(12, 20)
    parts = [
        numbers(source.batches(20, 5, share=Share(first, share_count, 4)), 12 * share_count)
        for first in range(0, 4, share_count)
    ]
    together = np.concatenate([part.reshape(12, -1) for part in parts], axis=1)
    np.testing.assert_array_equal(together, whole)


def test_processes_with_files_for_each_read_their_own(tmp_path):
    files = write(tmp_path, range(COUNT), files=4)
    source = Source(files, parse_images(SHAPE), cache_bytes=0)
    for process in range(2):
        seen = numbers(source.batches(20, 5, share=Share(process, 1, 2)), 5)
        expected = np.array_split(np.arange(COUNT), 4)
        own = np.concatenate([expected[process], expected[process + 2]])
        np.testing.assert_array_equal(np.sort(seen), own)


def test_a_batch_that_cannot_be_shared_is_refused(source):
    with pytest.raises(ValueError, match="multiple of 3"):
        source.batches(20, 5, share=Share(0, 1, 3))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, *SHAPE.hwc), "uint8")


def augmented(augment: Augment, images, step: int = 3, first: int = 0) -> np.ndarray:
    batch = {features.IMAGE: tf.constant(images)}
    return augment(batch, 7, tf.constant(step), tf.constant(first))[features.IMAGE].numpy()


def test_half_of_the_images_are_mirrored(images):
    flipped = augmented(Augment(flip=True, shift=0), images)
    mirrored = [np.array_equal(new, old[:, ::-1]) for new, old in zip(flipped, images, strict=True)]
    same = [np.array_equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert all(np.array(mirrored) ^ np.array(same))
    assert 20 < sum(mirrored) < 44


def test_images_move_within_the_range_and_repeat_their_edge(images):
    shift = 2
    moved = augmented(Augment(flip=False, shift=shift), images)
    padded = np.pad(images, [(0, 0), (shift, shift), (shift, shift), (0, 0)], mode="edge")
    height, width, _ = SHAPE.hwc
    found = set()
    for new, wide in zip(moved, padded, strict=True):
        places = [
            (y, x)
            for y in range(2 * shift + 1)
            for x in range(2 * shift + 1)
            if np.array_equal(new, wide[y : y + height, x : x + width])
        ]
        assert places
        found.update(places)
    assert len(found) > 20


def test_augmentation_is_the_one_written_down(images):
    flip, shift, step = True, 2, 3
    drawn = tf.random.stateless_uniform([len(images), 3], tf.constant([7, step], tf.int64)).numpy()
    height, width, _ = SHAPE.hwc
    for old, new, (down, right, mirror) in zip(
        images, augmented(Augment(flip, shift), images, step), drawn, strict=True
    ):
        y, x = (int(each * (2 * shift + 1)) for each in (down, right))
        wide = np.pad(old, [(shift, shift), (shift, shift), (0, 0)], mode="edge")
        expected = wide[y : y + height, x : x + width]
        np.testing.assert_array_equal(new, expected[:, ::-1] if mirror < 0.5 else expected)


def test_augmentation_depends_on_seed_step_and_place_alone(images):
    augment = Augment(flip=True, shift=1)
    whole = augmented(augment, images)
    parts = [augmented(augment, images[k : k + 16], first=k) for k in range(0, 64, 16)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert np.any(augmented(augment, images, step=4) != whole)


def test_augmented_batches_are_the_same_shared_and_resumed(tmp_path):
    source = Source(write(tmp_path, range(COUNT)), parse_images(SHAPE), 2**20)

    def pixels(elements: int, **arguments) -> np.ndarray:
        batches = source.batches(20, 5, augment=Augment(flip=True, shift=3), **arguments)
        return np.concatenate([batch["image"].numpy() for batch in batches.take(elements)])

    whole = pixels(8)
    np.testing.assert_array_equal(pixels(3, start=5), whole[100:])
    halves = [pixels(8, share=Share(k, 1, 2)).reshape(8, 10, *SHAPE.hwc) for k in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1).reshape(whole.shape), whole)


_ITERATE = """
import resource, sys
from components.trainer.records import parse_images
from components.trainer.source import Source
from models.config import ImageShape

shape = ImageShape(height=64, width=64, channels=3)
source = Source(sys.argv[2:], parse_images(shape), cache_bytes=2**20, shuffle_bytes=2**23)
assert not source.in_memory
for batch in source.batches(64, seed=1).take(100):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

_TRAIN = """
import resource, sys
from tfx.components.trainer.fn_args_utils import FnArgs
from components.trainer import vqvae
from components.trainer.config import VQVAEStageConfig
from models.config import EncoderConfig, ImageShape, ModelConfig, NetworkConfig, QuantizerConfig

from tests.fixtures.trainer_settings import vqvae_settings

network = NetworkConfig(
    image=ImageShape(height=64, width=64, channels=3),
    model=ModelConfig(
        encoder=EncoderConfig(downsampling=8, hidden_units=8, residual_units=4),
        quantizer=QuantizerConfig(num_codes=8, embedding_dim=4),
    ),
)
settings = vqvae_settings(
    network=network,
    stage=VQVAEStageConfig(steps=20, batch_size=64),
    cache_mib=16,
    shuffle_mib=16,
    checkpoints=sys.argv[1] + "/checkpoints",
)
vqvae.run_fn(
    FnArgs(
        train_files=sys.argv[2:],
        eval_files=sys.argv[2:3],
        serving_model_dir=sys.argv[1] + "/model",
        model_run_dir=sys.argv[1] + "/logs",
        custom_config={"settings": settings.model_dump_json()},
    )
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(program: str, folder: Path, record: Path, times: int) -> int:
    """Largest resident memory of a program on the same records, several times over."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), *[str(record)] * times],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.splitlines()[-1])


def noise(folder: Path, count: int) -> Path:
    """A file of 64×64×3 noise, the same in all of its records."""
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    labels = np.zeros(count, np.int64)
    images = np.broadcast_to(image, (count, *image.shape[1:]))
    return Path(write_images(folder, "train", images, labels)[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "count"),
    [
        pytest.param(_ITERATE, 2000, id="input"),
        # More than is shuffled at a time, 16 MiB.
        pytest.param(_TRAIN, 8000, id="Trainer"),
    ],
)
def test_memory_does_not_grow_with_the_records(tmp_path, program, count):
    records = noise(tmp_path, count)
    once, often = (peak(program, tmp_path / str(n), records, n) for n in (1, 10))
    print(f"{once / 1024:.0f} MiB, with ten times the records {often / 1024:.0f} MiB")
    assert often < 1.1 * once
