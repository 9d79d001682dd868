"""From TFRecords to transformed Examples under LocalDagRunner, and the graph that serving uses."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from google.protobuf import text_format
from PIL import Image
from tensorflow_transform.tf_metadata import schema_utils
from tfx.types import artifact_utils, standard_artifacts

from components import contents, features
from components.kinds import ImageKind
from components.record_files import read_records
from components.stored_images import parser
from components.transform import executor
from models import images
from models.config import ImageShape
from tests.fixtures.examples import tell
from tests.fixtures.ingestion_chain import run_chain

HWC = (8, 8, 3)
KIND = ImageKind(image=ImageShape(height=8, width=8, channels=3))


def picture(seed: int, side: int = 8, format: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def write(path: Path, pictures: list[bytes], labels: list[int | None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for encoded, label in zip(pictures, labels, strict=True):
            feature = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))}
            if label is not None:
                feature["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def decoded(pictures: list[bytes]) -> np.ndarray:
    return images.preprocess_images(tf.constant(pictures), HWC).numpy()


TRAIN = [picture(i, side=8 + i % 3, format=["PNG", "JPEG"][i % 2]) for i in range(120)]
EVALUATION = [picture(1000 + i) for i in range(40)]
SPLITS = {"train": TRAIN, "eval": EVALUATION}
LABELS = [None if i % 10 == 0 else i % 7 for i in range(120)]


def whole(root: Path) -> tuple[list[int | None], Path, Path]:
    """The whole chain over images of which some have a label."""
    for split, pictures in SPLITS.items():
        write(root / f"data/{split}/a.tfrecord", pictures, LABELS[: len(pictures)])
    return LABELS, *run_chain(root / "run", root / "data", KIND)


def alone(pixels: str, root: Path) -> tuple[list[int | None], Path, Path]:
    """Transform alone, by a schema that has the shape of the images and no label."""
    nobody: list[int | None] = [None] * len(TRAIN)
    examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
    examples.uri, schema.uri = str(root / "examples"), str(root / "schema")
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    for split, pictures in SPLITS.items():
        write(root / f"examples/Split-{split}/a.tfrecord", pictures, nobody[: len(pictures)])
    tell(root / "examples")
    spec = {features.IMAGE: tf.io.FixedLenFeature([1], tf.string)}
    text = text_format.MessageToString(schema_utils.schema_from_feature_spec(spec))
    Path(schema.uri).mkdir()
    Path(schema.uri, "schema.pbtxt").write_text(text)
    graph, transformed = standard_artifacts.TransformGraph(), standard_artifacts.Examples()
    graph.uri, transformed.uri = str(root / "graph"), str(root / "transformed")
    executor.Executor().Do(
        {"examples": [examples], "schema": [schema]},
        {"transform_graph": [graph], "transformed_examples": [transformed]},
        {"kind": KIND.model_dump_json(), "batch_size": 32, "pixels": pixels},
    )
    return nobody, Path(graph.uri), Path(transformed.uri)


def stored(root: Path):
    return alone("stored", root)


def encoded(root: Path):
    return alone("encoded", root)


@pytest.fixture(scope="module", params=[whole, stored, encoded])
def chain(request, tmp_path_factory):
    """Labels of the images, the transform graph, and the transformed Examples."""
    return request.param(tmp_path_factory.mktemp("chain"))


def test_whoever_reads_transformed_examples_sees_the_pixels(chain):
    labels, _, examples = chain
    held = contents.read(str(examples))
    for split, pictures in SPLITS.items():
        files = sorted(str(path) for path in (examples / f"Split-{split}").iterdir())
        records = tf.stack([each for file in files for each in read_records(file)])
        found = parser(HWC, held.pixels)(records)
        seen = zip(found["label"].numpy().tolist(), found["image"].numpy(), strict=True)
        expected = {
            (features.NO_LABEL if label is None else label, one.tobytes())
            for label, one in zip(labels, decoded(pictures), strict=False)
        }
        assert {(label, image.tobytes()) for label, image in seen} == expected


def test_contents_tell_what_the_records_are(chain):
    labels, _, examples = chain
    held = contents.read(str(examples)).splits
    pixels = decoded(TRAIN) / 255.0
    train = held["train"]
    assert train.num_classes == (7 if any(labels) else 0)
    counted = Counter(features.NO_LABEL if label is None else label for label in labels)
    assert train.labels == counted
    np.testing.assert_array_equal(train.pixels.mean, pixels.mean((0, 1, 2)).astype(np.float32))
    np.testing.assert_array_equal(train.pixels.variance, pixels.var((0, 1, 2)).astype(np.float32))
    for split, pictures in SPLITS.items():
        for name, file in held[split].files.items():
            records = list(
                read_records(str(examples / f"Split-{split}" / name)).as_numpy_iterator()
            )
            assert file.records == len(records)
            assert file.total_bytes == sum(map(len, records))
            assert file.longest == max(map(len, records))
        assert held[split].records == len(pictures)


def test_the_graph_serves_images_without_labels(chain):
    _, graph, _ = chain
    output = tft.TFTransformOutput(str(graph))
    layer = output.transform_features_layer()

    @tf.function
    def serve(encoded):
        spec = output.raw_feature_spec()[features.IMAGE]
        raw = encoded
        if isinstance(spec, tf.io.VarLenFeature):
            raw = tf.sparse.from_dense(encoded[:, tf.newaxis])
        elif spec.shape:
            raw = encoded[:, tf.newaxis]
        return images.unpack_pixels(layer({features.IMAGE: raw})[features.IMAGE], HWC)

    np.testing.assert_array_equal(serve(tf.constant(TRAIN[:10])), decoded(TRAIN[:10]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="images"):
        serve(tf.constant([TRAIN[0], TRAIN[1][:50]]))
