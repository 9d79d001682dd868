"""Training on data that do not fit into memory: going on from a checkpoint, and what is read."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.trainer import run
from components.trainer.config import StageConfig
from components.trainer.loop import Places, fit
from components.trainer.records import parse_images
from components.trainer.source import Share, Source
from components.trainer.vqvae import VQVAEObjective, place_codebook
from models.config import ImageShape
from models.vqvae import VQVAE
from tests.fixtures.numbered import SHAPE, numbers, write
from tests.fixtures.trainer_settings import NETWORK, vqvae_settings


class Objective(VQVAEObjective):
    def evaluate(self, held_out):
        return {"nmse": 0.0}

    def show(self, step):
        pass


def test_a_stopped_training_ends_like_an_undisturbed_one(tmp_path):
    files = write(tmp_path, range(200), files=20)
    source = Source(files, parse_images(SHAPE), cache_bytes=0, shuffle_bytes=10_000)
    placed = []

    def trained(steps: int, folder: str) -> list[np.ndarray]:
        vqvae = VQVAE(NETWORK, 0.14, seed=1)

        def start():
            placed.append(steps)
            place_codebook(vqvae, source, seed=0)

        # At a constant rate, so that the first steps do not depend on how many follow.
        stage = StageConfig(steps=steps, batch_size=24, warmup=0.0, final_learning_rate=1.0)
        places = Places(str(tmp_path / folder), str(tmp_path / "logs"))
        strategy, objective = tf.distribute.get_strategy(), Objective(vqvae, tf.zeros([0]))
        fit(objective, source, source, stage, 0, strategy, places, start=start)
        return [variable.numpy() for variable in vqvae.variables]

    whole = trained(20, "whole")
    trained(13, "stopped")  # in the second epoch
    for expected, found in zip(whole, trained(20, "stopped"), strict=True):
        np.testing.assert_array_equal(found, expected)
    # From the checkpoint, not from a codebook that is placed again.
    assert placed == [20, 13]


def test_files_before_the_place_are_not_read_again(tmp_path):
    # Three groups of eight files; 12 steps an epoch. Blocks of 6 records, of which one has records
    # of two groups.
    files = write(tmp_path, range(96), files=24)
    source = Source(files, parse_images(SHAPE), cache_bytes=0, shuffle_bytes=2000)
    epoch = numbers(source.batches(8, seed=5), 12)
    needed = {number // 4 for number in epoch[66:]}
    assert len(needed) == 8
    for index in set(range(24)) - needed:
        Path(files[index]).unlink()
    np.testing.assert_array_equal(numbers(source.batches(8, seed=5, start=9), 3), epoch[72:])


def test_processes_that_share_files_go_on_without_those_before(tmp_path):
    files = write(tmp_path, range(100), files=25)
    source = Source(files, parse_images(SHAPE), cache_bytes=0, shuffle_bytes=1000)
    share = Share(1, 1, 2)
    epoch = numbers(source.batches(20, seed=5, share=share), 5)
    # Its records 33 and later are in the third group of files and the fourth, a single file.
    needed = {number // 4 for number in epoch[33:]}
    assert len(needed) == 9
    for index in set(range(25)) - needed:
        Path(files[index]).unlink()
    later = numbers(source.batches(20, seed=5, start=4, share=share), 1)
    np.testing.assert_array_equal(later, epoch[40:])


def test_files_of_an_epoch_are_mixed(tmp_path):
    files = write(tmp_path, range(160), files=16)
    source = Source(files, parse_images(SHAPE), cache_bytes=0, shuffle_bytes=20_000)
    for batch in source.batches(20, seed=5).take(4):
        assert len({number // 10 for number in batch["label"].numpy()}) > 4


def test_the_shuffle_window_is_a_setting(tmp_path):
    shape = ImageShape(height=64, width=64, channels=3)  # 12 KiB
    files = write(tmp_path, range(200), shape=shape)
    settings = vqvae_settings(cache_mib=0, shuffle_mib=1)
    splits = types.SimpleNamespace(train_files=files, eval_files=files)
    train = run.read_data(splits, parse_images(shape), settings).train
    block = 83  # of 12.3 KiB and some more fit into 1 MiB
    first = numbers(train.batches(block, seed=1), 1)
    np.testing.assert_array_equal(np.sort(first), np.arange(block))
    assert np.any(first != np.arange(block))
