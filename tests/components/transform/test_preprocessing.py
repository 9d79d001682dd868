"""From TFRecords to transformed Examples under LocalDagRunner, and the graph that serving uses."""

import io
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from PIL import Image
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
from tfx import v1 as tfx

from components import features
from components.data_gate.component import DataGate
from components.example_gen.component import ImageExampleGen
from components.transform.component import ImageTransform
from components.transform.preprocessing import preprocessing_fn
from models import images

SHAPE = {"height": 8, "width": 8, "channels": 3}
HWC = (8, 8, 3)


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


def run_chain(root: Path, data: Path) -> tuple[Path, Path]:
    """Runs ingestion to Transform; returns the transform graph and the transformed examples."""
    example_gen = ImageExampleGen(str(data), code_version="1")
    statistics = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema = tfx.components.SchemaGen(
        statistics=statistics.outputs["statistics"], infer_feature_shape=False
    )
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    gate = DataGate(
        validator.outputs["anomalies"], statistics.outputs["statistics"], code_version="1"
    )
    transform = ImageTransform(
        example_gen.outputs["examples"],
        schema.outputs["schema"],
        "components.transform.preprocessing.preprocessing_fn",
        image=SHAPE,
        batch_size=32,
        code_version="1",
    )
    transform.add_upstream_node(gate)
    pipeline = tfx.dsl.Pipeline(
        "chain",
        str(root),
        components=[example_gen, statistics, schema, validator, gate, transform],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
        beam_pipeline_args=["--runner=DirectRunner", "--direct_num_workers=1"],
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    assert list(root.glob("DataGate/blessing/*/data.json"))
    (graph,) = root.glob("ImageTransform/transform_graph/*")
    (examples,) = root.glob("ImageTransform/transformed_examples/*")
    return graph, examples


def read(graph: Path, examples: Path, split: str) -> dict[str, np.ndarray]:
    files = [str(path) for path in (examples / f"Split-{split}").iterdir()]
    spec = tft.TFTransformOutput(str(graph)).transformed_feature_spec()
    serialized = list(tf.data.TFRecordDataset(files, "GZIP"))
    return {k: v.numpy() for k, v in tf.io.parse_example(tf.stack(serialized), spec).items()}


def decoded(pictures: list[bytes]) -> np.ndarray:
    return images.preprocess_images(tf.constant(pictures), HWC).numpy()


TRAIN = [picture(i, side=8 + i % 3, format=["PNG", "JPEG"][i % 2]) for i in range(120)]
EVALUATION = [picture(1000 + i) for i in range(40)]
SPLITS = {"train": TRAIN, "eval": EVALUATION}
LABELS = [None if i % 10 == 0 else i % 7 for i in range(120)]


def sparse(root: Path) -> tuple[list[int | None], Path, dict[str, dict[str, np.ndarray]]]:
    """The whole chain over images of which some have a label."""
    for split, pictures in SPLITS.items():
        write(root / f"data/{split}/a.tfrecord", pictures, LABELS[: len(pictures)])
    graph, examples = run_chain(root / "run", root / "data")
    return LABELS, graph, {split: read(graph, examples, split) for split in SPLITS}


def dense(root: Path) -> tuple[list[int | None], Path, dict[str, dict[str, np.ndarray]]]:
    """The graph alone, of a schema that has the shape of the images and no label."""
    spec = {features.IMAGE: tf.io.FixedLenFeature([1], tf.string)}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    rows = [{features.IMAGE: np.array([encoded], object)} for encoded in TRAIN]
    with (
        beam.Pipeline(runner="DirectRunner") as pipeline,
        tft_beam.Context(str(root / "temp"), desired_batch_size=32),
    ):
        analyzed = (pipeline | beam.Create(rows), metadata) | tft_beam.AnalyzeDataset(
            lambda inputs: preprocessing_fn(inputs, {"image": SHAPE})
        )
        _ = analyzed | tft_beam.WriteTransformFn(str(root / "graph"))
    raw = root / "graph" / tft.TFTransformOutput.RAW_METADATA_DIR
    metadata_io.write_metadata(metadata, str(raw))
    layer = tft.TFTransformOutput(str(root / "graph")).transform_features_layer()
    found = {}
    for split, pictures in SPLITS.items():
        transformed = layer({features.IMAGE: tf.constant(pictures)[:, tf.newaxis]})
        found[split] = {name: value.numpy() for name, value in transformed.items()}
    return [None] * len(TRAIN), root / "graph", found


@pytest.fixture(scope="module", params=[sparse, dense])
def chain(request, tmp_path_factory):
    """Labels of the images, the transform graph, and what becomes of each split."""
    return request.param(tmp_path_factory.mktemp("chain"))


def test_transformed_examples_hold_the_pixels(chain):
    labels, _, splits = chain
    for split, pictures in SPLITS.items():
        found = splits[split]
        assert set(found) == {
            features.IMAGE,
            features.LABEL,
            features.NUM_CLASSES,
            features.PIXEL_MEAN,
            features.PIXEL_VARIANCE,
        }
        expected = {
            (features.NO_LABEL if label is None else label, one.tobytes())
            for label, one in zip(labels, decoded(pictures), strict=False)
        }
        assert set(zip(found["label"], found["image"], strict=True)) == expected


def test_the_constants_are_those_of_the_training_split(chain):
    labels, _, splits = chain
    pixels = decoded(TRAIN) / 255.0
    for found in splits.values():
        assert (found["num_classes"] == (7 if any(labels) else 0)).all()
        assert found["pixel_mean"].dtype == np.float32
        for name, expected in (
            ("pixel_mean", pixels.mean((0, 1, 2))),
            ("pixel_variance", pixels.var((0, 1, 2))),
        ):
            np.testing.assert_array_equal(
                found[name], np.tile(expected.astype(np.float32), [len(found[name]), 1])
            )


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
