"""Every image's codes stay with its label, in every split, however the work is cut."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.components.util import tfxio_utils
from tfx.types import artifact_utils, channel_utils, standard_artifacts
from tfx_bsl.tfxio import dataset_options

from components import contents, features
from components.errors import PipelineError
from components.record_files import Writer
from components.tokenizer import component, executor
from components.tokenizer.views import Views
from components.trainer.config import PriorStageConfig
from models.vqvae import VQVAE
from tests.fixtures import small_release, tiny_models
from tests.fixtures.examples import tell, write_images

HEIGHT, WIDTH = 6, 4


class Stub(tf.Module):
    """Codes [N, 3, 2] that give the image away: the mean of each 2×2 block, plus `offset`."""

    def __init__(self, offset=0):
        super().__init__()
        self._offset = tf.Variable(offset)

    @tf.function(input_signature=[tf.TensorSpec([None, HEIGHT, WIDTH, 1], tf.uint8, name="images")])
    def pixels(self, images):
        blocks = tf.nn.avg_pool2d(tf.cast(images, tf.float32), 2, 2, "VALID")
        codes = tf.cast(tf.squeeze(blocks, 3), tf.int32) + self._offset
        return {"codes": codes, "release": tf.zeros([tf.shape(images)[0]], tf.int64)}


def expected_codes(images, offset=0):
    return images.reshape(-1, 3, 2, 2, 2).mean((2, 4)).astype(int) + offset


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    def save(name, offset):
        artifact = standard_artifacts.Model()
        artifact.uri = str(tmp_path_factory.mktemp(name))
        module = Stub(offset)
        path = Path(artifact.uri, "Format-Serving")
        tf.saved_model.save(module, str(path), signatures={"pixels": module.pixels})
        return artifact

    return {offset: save(f"model{offset}", offset) for offset in (0, 1000)}


def write_examples(folder, splits, shape=(HEIGHT, WIDTH)):
    """Transformed Examples: {split: [images of each file]}; labels count through each split."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder / "transformed")
    artifact.split_names = artifact_utils.encode_split_names(list(splits))
    random = np.random.default_rng(0)
    written = {}
    for split, files in splits.items():
        images = random.integers(0, 256, (sum(files), *shape), np.uint8)
        written[split] = images
        labels = np.arange(len(images))
        write_images(Path(artifact.uri), split, images[..., np.newaxis], labels, files)
    return artifact, written


def tokenize(folder, examples, model, num_codes=256, batch_size=32, **views):
    output = standard_artifacts.Examples()
    output.uri = str(folder / "codes")
    executor.Executor().Do(
        {"examples": [examples], "model": [model]},
        {"codes": [output]},
        {
            "num_codes": num_codes,
            "batch_size": batch_size,
            "views": Views(**views).model_dump_json(),
            "code_version": "",
        },
    )
    return output


def read(artifact, split, dtype, shape=(3, 2)):
    """{label: codes} of all records of a split, which have labels of their own."""
    found = dict(records(artifact, split, dtype, shape))
    assert len(found) == contents.read(artifact.uri).splits[split].records
    return found


def records(artifact, split, dtype, shape=(3, 2)):
    """(label, codes) of all records of a split."""
    found = []
    for file in sorted(Path(artifact.uri, f"Split-{split}").iterdir()):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            assert set(feature) == {"codes", "label"}
            (label,) = feature["label"].int64_list.value
            (codes,) = feature["codes"].bytes_list.value
            found.append((label, np.frombuffer(codes, dtype).reshape(shape)))
    return found


@pytest.mark.parametrize(("offset", "num_codes", "dtype"), [(0, 256, "u1"), (1000, 2000, "<u2")])
def test_codes_stay_with_their_labels_in_every_split(tmp_path, model, offset, num_codes, dtype):
    # Files that are no multiple of the batch, smaller than it, and empty.
    examples, images = write_examples(tmp_path, {"train": [70, 5, 0], "eval": [33]})
    output = tokenize(tmp_path, examples, model[offset], num_codes)
    assert artifact_utils.decode_split_names(output.split_names) == ["train", "eval"]
    for split, expected in images.items():
        found = read(output, split, dtype)
        assert sorted(found) == list(range(len(expected)))
        in_order = np.stack([found[label] for label in sorted(found)])
        np.testing.assert_array_equal(in_order, expected_codes(expected, offset))
    assert sorted(path.name for path in Path(output.uri).iterdir()) == [
        *("Split-eval", "Split-train", "contents.json")
    ]


def test_the_codes_of_encoded_images_are_those_that_are_served(tmp_path):
    served = small_release.export(tmp_path, VQVAE(small_release.network(), 0.08))
    model, examples = standard_artifacts.Model(), standard_artifacts.Examples()
    model.uri, examples.uri = str(tmp_path / "model"), str(tmp_path / "transformed")
    Path(model.uri).mkdir()
    (tmp_path / "combined").rename(tmp_path / "model" / "Format-Serving")
    examples.split_names = artifact_utils.encode_split_names(["train"])
    split = tmp_path / "transformed" / "Split-train"
    split.mkdir(parents=True)
    random = np.random.default_rng(0)
    sides = [(8, 8), (20, 13), (9, 31), (16, 16), (8, 12)]
    pictures = [
        tiny_models.png(random.integers(0, 256, (*side, 3), np.uint8), kind)
        for side in sides
        for kind in ("PNG", "JPEG")
    ]
    with Writer(str(split / "images.tfrecord"), str(tmp_path)) as writer:
        labels = np.arange(len(pictures))
        writer.write({"image": np.array(pictures, object), "label": labels})
    tell(tmp_path / "transformed", "encoded")
    codes = read(tokenize(tmp_path, examples, model, 8), "train", "u1", (4, 4))
    encode = tf.saved_model.load(str(served / "encode")).signatures["serving_default"]
    expected = encode(images=tf.constant(pictures))["codes"].numpy()
    np.testing.assert_array_equal([codes[label] for label in labels], expected)


def test_training_images_have_several_views_and_held_out_ones_one(tmp_path, model):
    examples, images = write_examples(tmp_path, {"train": [40, 9], "eval": [12]})
    output = tokenize(tmp_path, examples, model[0], count=4, flip=True, shift=1, seed=3)
    held_out = [codes for _, codes in records(output, "eval", "u1")]
    np.testing.assert_array_equal(held_out, expected_codes(images["eval"]))
    held = contents.read(output.uri).splits["train"]
    assert (held.records, held.labels[5]) == (4 * 49, 4)
    written = records(output, "train", "u1")
    moved = 0
    for label, image in enumerate(images["train"]):
        found = [codes for known, codes in written if known == label]
        np.testing.assert_array_equal(found[0], expected_codes(image)[0])
        wide = np.pad(image, 1, mode="edge")
        places = [wide[y : y + HEIGHT, x : x + WIDTH] for y in range(3) for x in range(3)]
        for view, codes in enumerate(found[1:], 1):
            possible = [place[:, ::-1] if view % 2 else place for place in places]
            assert any((expected_codes(each)[0] == codes).all() for each in possible)
            moved += np.any(expected_codes(possible[4])[0] != codes)
    assert moved > 49


def test_views_depend_on_the_seed_the_file_and_the_batch_alone():
    images = tf.random.stateless_uniform([30, 5, 5, 1], [0, 1], 0, 256, tf.int32)

    def made(file="a/codes-1", batch=2, **settings):
        views = Views(count=3, shift=2, **settings).of(tf.cast(images, tf.uint8), file, batch)
        return np.stack([np.asarray(view) for view in views])

    first = made()
    np.testing.assert_array_equal(first, made("elsewhere/codes-1"))
    np.testing.assert_array_equal(first[0], images)
    assert np.any(first[1] != first[2])
    for other in (made("a/codes-2"), made(batch=3), made(seed=1)):
        assert np.any(other[1:] != first[1:], axis=(1, 2, 3, 4)).all()


def test_views_that_would_be_alike_are_refused():
    for settings, named in (
        ({"flip": True}, "set views to 2 or more"),
        ({"views": 2}, "all 2 views would be alike"),
        ({"views": 3, "flip": True}, "with flip alone there are 2 views"),
    ):
        with pytest.raises(ValueError, match=named):
            PriorStageConfig(**settings)


def test_stock_readers_find_the_codes(tmp_path, model):
    examples, images = write_examples(tmp_path, {"eval": [9]})
    output = tokenize(tmp_path, examples, model[0])
    factory = tfxio_utils.get_record_batch_factory_from_artifact([output], ["Test"])
    files = [str(path) for path in Path(output.uri, "Split-eval").iterdir()]
    options = dataset_options.RecordBatchesOptions(batch_size=100, num_epochs=1, shuffle=False)
    (batch,) = factory(files, options, None)
    codes = [np.frombuffer(value[0], "u1") for value in batch.column("codes").to_pylist()]
    np.testing.assert_array_equal(np.reshape(codes, (-1, 3, 2)), expected_codes(images["eval"]))


def test_a_code_that_the_codebook_does_not_have_is_never_wrapped(tmp_path, model):
    examples, _ = write_examples(tmp_path, {"eval": [4]})
    with pytest.raises(PipelineError, match="codebook has 256"):
        tokenize(tmp_path, examples, model[1000], num_codes=256)
    assert list(Path(tmp_path, "codes", "Split-eval").iterdir()) == []


def test_images_of_another_size_name_the_file(tmp_path, model):
    examples, _ = write_examples(tmp_path, {"eval": [4]}, shape=(5, 5))
    with pytest.raises(PipelineError, match=r"Split-eval.*does not hold images of 6×4×1"):
        tokenize(tmp_path, examples, model[0])


def test_a_damaged_file_is_named_and_leaves_no_codes(tmp_path, model):
    examples, _ = write_examples(tmp_path, {"eval": [2000]})
    (file,) = Path(examples.uri, "Split-eval").iterdir()
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(PipelineError, match=f"{file.name} is damaged: it has"):
        tokenize(tmp_path, examples, model[0])
    assert not list(Path(tmp_path, "codes").rglob("*.tfrecord"))


def test_a_record_that_was_changed_names_the_file_and_leaves_no_codes(tmp_path, model):
    examples, _ = write_examples(tmp_path, {"eval": [2000]})
    (file,) = Path(examples.uri, "Split-eval").iterdir()
    changed = bytearray(file.read_bytes())
    changed[-5000] ^= 1
    file.write_bytes(changed)
    with pytest.raises(PipelineError, match=f"{file.name} is damaged; run Transform again"):
        tokenize(tmp_path, examples, model[0])
    assert list(Path(tmp_path, "codes", "Split-eval").iterdir()) == []


def test_a_split_without_files_is_named(tmp_path, model):
    examples, _ = write_examples(tmp_path, {"train": [3], "eval": []})
    with pytest.raises(PipelineError, match=r"Split-eval/\*: the split is empty"):
        tokenize(tmp_path, examples, model[0])


def test_the_component_is_keyed_by_all_that_matters():
    def make(**changes):
        return component.Tokenizer(
            examples=channel_utils.as_channel([standard_artifacts.Examples()]),
            model=channel_utils.as_channel([standard_artifacts.Model()]),
            **{"num_codes": 64, **changes},
        )

    base = make()
    assert base.id == "Tokenizer"
    assert base.outputs["codes"].type is standard_artifacts.Examples
    for change in ({"num_codes": 65}, {"batch_size": 1}, {"code_version": "other"}):
        assert make(**change).exec_properties != base.exec_properties


def test_code_dtypes():
    assert [features.code_dtype(k).itemsize for k in (256, 257, 65536, 65537)] == [1, 2, 2, 4]
