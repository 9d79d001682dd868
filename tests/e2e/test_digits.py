"""The whole pipeline on the embedded digits: what a user of `vqvae run` relies on.

One root is shared; the tests follow each other as a user's days would.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

# Small and quick, and good enough for a gate of its own.
QUICK = {
    "training.vqvae.steps": 250,
    "training.vqvae.evaluate_every": 125,
    "training.prior.steps": 60,
    "training.prior.evaluate_every": 60,
    "prior.layers": 1,
    "model.encoder.residual_blocks": 1,
    "model.quantizer.num_codes": 32,
    "gate.thresholds": "{nmse: {max: 0.5, worse_by: 0.05}}",
}
TRAINED = {"Trainer-vqvae", "Tokenizer", "Trainer-prior", "Evaluator", "Pusher"}


class Runner:
    """Runs `vqvae` in one directory as a user does, in a process of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = folder / "runs" / "digits"

    def vqvae(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "pipeline", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=1800,
        )

    def run(self, **changes: object) -> subprocess.CompletedProcess:
        settings = {**QUICK, **{key.replace("__", "."): value for key, value in changes.items()}}
        return self.vqvae("run", *(f"--set={key}={value}" for key, value in settings.items()))

    def states(self) -> dict[str, str]:
        record = json.loads((self.root / "last_run.json").read_text())
        return {component["name"]: component["state"] for component in record["components"]}

    def ran(self) -> set[str]:
        return {name for name, state in self.states().items() if state == "ran"}

    def store(self) -> dict[str, str]:
        """File -> hash of everything in the release store."""
        files = (path for path in (self.root / "serving").rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def manifest(self, version: int) -> dict:
        return json.loads((self.root / "serving" / "releases" / f"{version}.json").read_text())

    def latest(self) -> int:
        pointer = self.root / "serving" / "releases" / "latest.json"
        return json.loads(pointer.read_text())["version"]


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> Runner:
    return Runner(tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="module")
def first(runner) -> subprocess.CompletedProcess:
    return runner.run()


def test_the_first_run_releases(runner, first):
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stderr == ""
    states = runner.states()
    assert set(states.values()) == {"ran"}
    assert TRAINED | {"ImageExampleGen", "Transform", "DataGate", "Baseline"} < set(states)
    assert "released version 1" in first.stdout
    assert runner.latest() == 1
    assert (runner.root / "report" / "index.html").is_file()
    for name in ("encode", "decode", "sample"):
        model = runner.root / "serving" / name / "1"
        assert (model / "saved_model.pb").is_file()
        assert (model / "assets.extra" / "tf_serving_warmup_requests").is_file()
        assert (model / "batching_params.pbtxt").is_file() == (name != "sample")


def test_what_the_prior_draws_is_pictured_beside_the_models(runner, first):
    from PIL import Image

    (path,) = (runner.root / "pipeline" / "Trainer-prior" / "model").glob("*/release/samples.png")
    with Image.open(path) as picture:  # ten classes, eight of each, pixels of 11 × 11
        assert picture.size == ((8 * 9 - 1) * 11, (10 * 9 - 1) * 11)
        assert len(picture.getcolors()) > 10


def test_components_and_verdict_are_printed(first):
    for name in ("ImageExampleGen", "Trainer-vqvae", "Pusher"):
        assert f"· {name} starts" in first.stdout
        assert f"✔ {name}" in first.stdout
    assert "vqvae: step 250/250" in first.stdout
    for metric in ("nmse", "code_usage", "prior_bits_per_code", "bits_per_dim"):
        assert metric in first.stdout
    assert "at most 0.5" in first.stdout


def test_an_unchanged_run_is_all_cached_and_releases_nothing_new(runner, first):
    before = runner.store()
    again = runner.run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(runner.states().values()) == {"cached"}
    assert runner.store() == before


def test_a_model_below_the_gate_is_refused_and_the_store_untouched(runner, first):
    before = runner.store()
    refused = runner.run(gate__thresholds="{nmse: {max: 0.0001, worse_by: 0.05}}")
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert "not released: the gate refused it (nmse)" in refused.stdout
    assert runner.store() == before
    # What does not depend on the gate was not done again; Baseline is now release 1.
    assert runner.ran() == {"Baseline", "Evaluator", "Pusher", "Report"}


def test_a_better_model_replaces_the_release(runner, first):
    better = runner.run(training__prior__steps=120)
    assert better.returncode == 0, better.stdout + better.stderr
    assert "released version 2" in better.stdout
    # The baseline is release 1 still, and cached, and so is the VQ-VAE.
    assert runner.ran() == {"Trainer-prior", "Evaluator", "Pusher", "Report"}
    assert runner.latest() == 2
    before, after = (runner.manifest(version) for version in (1, 2))
    assert after["baseline"] == 1
    assert after["metrics"]["nmse"] == before["metrics"]["nmse"]
    bits = "prior_bits_per_code"
    assert after["metrics"][bits] < before["metrics"][bits]


# Uses the released models as somebody would who has TensorFlow and nothing of ours.
PLAIN = """
import io, sys
import numpy as np
import tensorflow as tf
from PIL import Image

store, version = sys.argv[1:]
encode, decode, sample = (
    tf.saved_model.load(f"{store}/{name}/{version}") for name in ("encode", "decode", "sample")
)
def png(array, format="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format)
    return buffer.getvalue()

rng = np.random.default_rng(0)
gray = rng.integers(0, 256, (8, 8), "uint8")
images = [png(gray), png(rng.integers(0, 256, (20, 11, 3), "uint8"), "JPEG")]
encoded = encode.signatures["serving_default"](images=tf.constant(images))
assert encoded["codes"].dtype == tf.int32 and encoded["codes"].shape == (2, 4, 4)
assert encoded["release"].numpy().tolist() == [int(version)] * 2
pixels = encode.signatures["pixels"](images=tf.constant(gray[None, :, :, None]))
assert np.array_equal(pixels["codes"][0], encoded["codes"][0])
decoded = decode.signatures["serving_default"](codes=encoded["codes"])["images"]
assert decoded.dtype == tf.uint8 and decoded.shape == (2, 8, 8, 1)

draw = lambda labels, seed=1, temperature=1.0: sample.signatures["serving_default"](
    labels=tf.constant(labels, tf.int32), seed=tf.constant(seed, tf.int64),
    temperature=tf.constant(temperature, tf.float32))
first, again, other = draw([-1, 3]), draw([-1, 3]), draw([-1, 3], seed=2)
assert first["images"].shape == (2, 8, 8, 1) and first["codes"].shape == (2, 4, 4)
assert np.array_equal(first["images"], again["images"])
assert not np.array_equal(first["codes"], other["codes"])
assert np.array_equal(
    first["images"], decode.signatures["serving_default"](codes=first["codes"])["images"])

def refused(name, call):
    try:
        call()
    except tf.errors.InvalidArgumentError as error:
        assert name in error.message, (name, error.message)
    else:
        raise AssertionError(f"{name} was accepted")

codes = encoded["codes"].numpy()
refused("images", lambda: encode.signatures["serving_default"](images=tf.constant([b"no image"])))
refused("images", lambda: encode.signatures["serving_default"](images=tf.constant([images])))
refused("images", lambda: encode.signatures["pixels"](images=tf.zeros([1, 8, 8], tf.uint8)))
refused("images", lambda: encode.signatures["pixels"](images=tf.zeros([1, 9, 8, 1], tf.uint8)))
for bad in (codes + 1000, codes - 1000, codes[0], codes[:, :3]):
    refused("codes", lambda: decode.signatures["serving_default"](codes=tf.constant(bad)))
for bad in ([10], [-2], [[1]]):
    refused("labels", lambda: draw(bad))
for bad in (0.0, -1.0, float("nan"), float("inf")):
    refused("temperature", lambda: draw([1], temperature=bad))
for module in ("models", "components", "pipeline"):
    assert module not in sys.modules
"""


def test_the_models_need_none_of_our_code_and_refuse_bad_input(runner, first):
    process = subprocess.run(
        # -I: neither the working directory nor PYTHONPATH is on the path.
        [sys.executable, "-I", "-c", PLAIN, str(runner.root / "serving"), "1"],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert process.returncode == 0, process.stderr[-3000:]


def test_what_is_served_is_what_was_measured_whatever_the_batch(runner, first):
    import numpy as np
    import tensorflow as tf

    def records(component: str) -> list[bytes]:
        files = (runner.root / "pipeline" / component).glob("*/*/Split-eval/*.tfrecord")
        dataset = tf.data.TFRecordDataset(sorted(map(str, files)))
        return list(dataset.as_numpy_iterator())

    def field(record: bytes) -> bytes:
        return tf.train.Example.FromString(record).features.feature["image"].bytes_list.value[0]

    store = runner.root / "serving"
    encode, decode, evaluate = (
        tf.saved_model.load(str(store / name / "1")) for name in ("encode", "decode", "evaluate")
    )
    transformed = records("Transform")
    pixels = np.stack([np.frombuffer(field(each), np.uint8) for each in transformed])
    pixels = pixels.reshape(-1, 8, 8, 1).astype(np.int64)
    files = [field(each) for each in records("ImageExampleGen")]
    measured = evaluate.signatures["evaluate"](examples=tf.constant(transformed))

    manifest = runner.manifest(1)
    for model in (encode, decode):
        identity = model.signatures["identity"](rows=tf.zeros([1], tf.int32))
        assert identity["release"].numpy().tolist() == [1]
        assert identity["codebook_sha256"].numpy() == [manifest["codebook_sha256"].encode()]
    for size in (1, 2, 3, 7, 16, 33, 64, len(files)):
        for start in range(0, len(files), size):
            part = slice(start, start + size)
            codes = encode.signatures["serving_default"](images=tf.constant(files[part]))["codes"]
            np.testing.assert_array_equal(
                np.reshape(codes, [-1, 16]), measured["codes"][part], strict=True
            )
            images = decode.signatures["serving_default"](codes=codes)["images"].numpy()
            # One level in one pixel would be 1 / 255² = 1.5e-5 or more.
            error = np.square(pixels[part] - images).sum(axis=(1, 2, 3)) / 255.0**2
            np.testing.assert_allclose(measured["squared_error"][part], error, rtol=0, atol=2e-6)


def test_a_server_gives_what_the_models_on_disk_give(runner, first):
    import numpy as np
    import tensorflow as tf

    from pipeline.client import Client
    from tests.fixtures.served_process import ServedProcess

    store = runner.root / "serving"
    loaded = {name: tf.saved_model.load(str(store / name / "1")) for name in ("encode", "decode")}
    sample = tf.saved_model.load(str(store / "sample" / "1")).signatures["serving_default"]
    pixels = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1), np.uint8)
    files = [tf.io.encode_png(each).numpy() for each in pixels]
    codes = loaded["encode"].signatures["pixels"](images=tf.constant(pixels))["codes"].numpy()
    decoded = loaded["decode"].signatures["serving_default"](codes=tf.constant(codes))["images"]
    drawn = sample(labels=tf.range(10), seed=tf.constant(5, tf.int64), temperature=tf.constant(0.8))
    with ServedProcess(store) as served, Client(f"localhost:{served.grpc}", version=1) as client:
        assert client.identity().codebook_sha256 == runner.manifest(1)["codebook_sha256"]
        streamed = list(client.encode_stream(files, batch=37))
        assert {each.release for each in streamed} == {1}
        np.testing.assert_array_equal(np.concatenate([each.codes for each in streamed]), codes)
        images = np.concatenate(list(client.decode_stream(codes, batch=50)))
        np.testing.assert_array_equal(images, decoded)
        over_grpc = client.sample(list(range(10)), seed=5, temperature=0.8)
        body = {"inputs": {"labels": list(range(10)), "seed": 5, "temperature": 0.8}}
        url = f"http://localhost:{served.rest}/v1/models/sample/versions/1:predict"
        with urllib.request.urlopen(url, json.dumps(body).encode(), 60) as answer:
            over_rest = json.load(answer)["outputs"]
    for name in ("images", "codes"):
        np.testing.assert_array_equal(getattr(over_grpc, name), drawn[name])
        np.testing.assert_array_equal(over_rest[name], drawn[name])


def test_encode_decode_and_sample_on_files(runner, first, tmp_path):
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), "uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    codes = tmp_path / "codes.npz"
    encoded = runner.vqvae("encode", str(tmp_path / "a.png"), "--out", str(codes))
    assert encoded.returncode == 0, encoded.stderr
    decoded = runner.vqvae("decode", str(codes), "--out", str(tmp_path / "decoded"))
    assert decoded.returncode == 0, decoded.stderr
    assert np.asarray(Image.open(tmp_path / "decoded" / "a.png")).shape == (8, 8)
    sampled = runner.vqvae("sample", "--out", str(tmp_path / "s"), "--count=3", "--label=7")
    assert sampled.returncode == 0, sampled.stderr
    assert len(list((tmp_path / "s").glob("*.png"))) == 3
    greedy = [
        *("sample", "--out", str(tmp_path / "greedy")),
        *("--count=3", "--label=7", "--top-k=1", "--top-p=0.9"),
    ]
    assert runner.vqvae(*greedy).returncode == 0
    with np.load(tmp_path / "greedy" / "codes.npz") as stored:
        assert len(np.unique(stored["codes"], axis=0)) == 1

    (tmp_path / "bad.png").write_bytes(b"not an image")
    bad = runner.vqvae("encode", str(tmp_path / "bad.png"), "--out", str(codes))
    assert bad.returncode == 1
    root, error = bad.stderr.splitlines()
    assert root.startswith("using ")
    assert error.startswith("error: ")
    assert "bad.png" in error


def test_bad_data_stops_the_run_with_one_line(runner, tmp_path):
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "eval").mkdir()
    for split in ("train", "eval"):
        (tmp_path / "data" / split / "a.tfrecord").write_bytes(b"this is no TFRecord file")
    failed = runner.vqvae("run", "--data", str(tmp_path / "data"), "--root", str(tmp_path / "root"))
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    assert "a.tfrecord" in failed.stderr
    assert not (tmp_path / "root" / "serving").exists()
