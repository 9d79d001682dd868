"""Releases whose decoder takes labels, on disk and behind a server."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from components.errors import PipelineError
from models.vqvae import VQVAE
from pipeline.inference import codes_file, disk
from pipeline.inference.bulk_decode import decode_codes
from pipeline.inference.client import Client
from pipeline.inference.codes_file import Codes
from pipeline.inference.errors import InvalidInput
from tests.fixtures import served_releases, small_release

REFUSED = "release 1 has a conditional decoder"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditional")
    config = small_release.network(conditional=True)
    vqvae = VQVAE(config, 0.1, num_classes=small_release.CLASSES)
    table = vqvae.decoder.label.table
    table.assign(np.random.default_rng(0).normal(size=table.shape))
    release = small_release.export(folder, vqvae)
    models = {name: release / name for name in ("encode", "decode", "sample")}
    served_releases.publish(folder / "store", {**models, "evaluate": folder / "combined"})
    codes = np.random.default_rng(0).integers(0, 8, (3, *config.code_shape), "int32")
    expected = vqvae.decode(codes, tf.constant([1, -1, 0])).numpy()
    return folder / "store", codes, expected


def test_on_disk(released, tmp_path):
    store, codes, expected = released
    with disk.opened(str(store), None, "decode") as models:
        np.testing.assert_array_equal(models.decode(codes, [1, -1, 0]), expected)
        with pytest.raises(InvalidInput, match=r"labels must be -1 \(not known\) to 2"):
            models.decode(codes, [1, 3, 0])
        with pytest.raises(PipelineError, match=REFUSED):
            models.decode(codes)
        with pytest.raises(PipelineError, match=REFUSED):
            next(models.decode_stream(codes))
        names, sizes = np.array(["a", "b", "c"]), np.zeros([3, 2], np.int32)
        codes_file.write(tmp_path / "codes" / "a.npz", Codes(codes, names, sizes, 1, "x"))
        folders = tmp_path / "codes", tmp_path / "out"
        with pytest.raises(PipelineError, match=REFUSED):
            decode_codes(models, *folders, [], lambda *_: None, chosen=False, force=False)


def test_behind_a_server(released):
    store, codes, expected = released
    with served_releases.serving(store) as running, Client(f"localhost:{running.port}") as client:
        np.testing.assert_array_equal(client.decode(codes, [1, -1, 0]), expected)
        with pytest.raises(InvalidInput, match="labels"):
            client.decode(codes)
