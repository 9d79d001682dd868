"""The models of a release on disk, run in this process."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from components.errors import PipelineError, one_line
from components.features import DataKind
from components.release_store import loading
from components.release_store import store as release_store
from components.release_store.release import Release, StoreError
from models.audio.config import AudioConfig
from models.exported import ENCODED, pixels_of, takes_labels
from pipeline.inference import errors, models
from pipeline.inference.errors import InvalidInput
from pipeline.inference.models import Drawn, Encoded, Identity


@contextlib.contextmanager
def opened(store: str, version: int | None, *names: str) -> Iterator[DiskModels]:
    """Models of a release, for as long as the context lasts.

    Args:
        store: folder of the release store, or its URI in an object store.
        version: which release; None for the stable one.
        names: `encode`, `decode`, `sample`: all that is copied here from an object store.

    Raises:
        PipelineError: there is no such release, or it is damaged.
    """
    with contextlib.ExitStack() as stack:
        release = stack.enter_context(release_store.opened_if_any(store, version, names))
        if release is None:
            raise PipelineError(
                f"nothing has been released to {store} yet; `vqvae run` makes a release"
            )
        yield DiskModels(release, store, stack)


class DiskModels:
    """A `pipeline.inference.models.Models`; each model is loaded when it is first used.

    Attributes:
        release: whose models these are.
    """

    def __init__(self, release: Release, store: str, stack: contextlib.ExitStack):
        self.release = release
        self._store, self._stack = store, stack  # the latter keeps what was copied here
        self._loaded: dict[str, tf.Module] = {}

    def identity(self, model: str = "encode") -> Identity:
        """The release, and the codebook that its manifest names."""
        return Identity(self.release.version, str(self.release.manifest["codebook_sha256"]))

    def at(self, release: int) -> DiskModels:
        """These models, as a release on disk does not change."""
        if release != self.release.version:
            raise ValueError(f"is release {self.release.version}. Received: {release}")
        return self

    def of_codebook(self, codebook_sha256: str, release: int) -> DiskModels | None:
        """The decoder of a whole release in the same store that has this codebook."""
        versions = release_store.versions(self._store)
        for version in sorted(versions, key=lambda each: (each != release, -each)):
            with contextlib.suppress(StoreError):  # a damaged one may not be needed
                with release_store.opened(self._store, version, []) as found:
                    sha256 = found.manifest.get("codebook_sha256")
                if sha256 == codebook_sha256:
                    opening = release_store.opened(self._store, version, ["decode"])
                    found = self._stack.enter_context(opening)
                    return DiskModels(found, self._store, self._stack)
        return None

    def audio(self, model: str = "encode") -> AudioConfig | None:
        """The settings of sound that the manifest has; None for a release of images."""
        facts = self.release.manifest.get("model", {})
        if facts.get("kind", "image") == "image":
            return None
        return models.read_audio(json.dumps(facts.get("audio")), self.release.version)

    def takes_labels(self) -> bool:
        """Whether `decode` takes labels: its decoder is conditional."""
        return takes_labels(self._model("decode").signatures["serving_default"])

    def label_names(self) -> Sequence[str]:
        """What the manifest says that labels 0, 1, … are called; empty where it does not."""
        return self.release.manifest.get("data", {}).get("label_names", ())

    def encode_stream(
        self, images: Iterable[bytes], kind: DataKind = "image", *, batch: int = models.BATCH
    ) -> Iterator[Encoded]:
        """Codes int32 [n, h, w(, g)] of images, or of WAV files, in order and in batches."""
        encode = functools.partial(self._encode, kind=kind)
        done = 0
        for each in models.batches(images, batch, models.BATCH_BYTES):
            try:
                codes = encode(each)
            except InvalidInput as error:
                first = models.first_refused(encode, each, error)
                if first.index is not None:
                    first.index += done
                raise first from error
            done += len(each)
            yield Encoded(codes, self.release.version)

    def decode_stream(
        self,
        codes: Iterable[np.ndarray],
        labels: Sequence[int] | np.ndarray | None = None,
        *,
        batch: int = models.BATCH,
    ) -> Iterator[np.ndarray]:
        """Images uint8 [n, H, W, C] of codes [h, w(, g)], in order and in batches."""
        rows = models.RowBatches(codes, batch, models.BATCH_BYTES)
        for inputs in models.decoding(rows, labels):
            outputs = self._decode(**inputs)
            rows.learn(outputs)
            yield pixels_of(outputs)

    def encode_pixels(self, images: np.ndarray) -> np.ndarray:
        """Codes int32 [n, h, w(, g)] of images uint8 [n, H, W, C] of the model's size."""
        return self._run("encode", "pixels", images=tf.constant(images, tf.uint8))["codes"]

    def decode(self, codes: np.ndarray, labels: Sequence[int] | None = None) -> np.ndarray:
        """Images uint8 [n, H, W, C] of codes int32 [n, h, w(, g)], in one call.

        Args:
            codes: of the images; of a release of audio they are spectrograms, see `waveform`.
            labels: of the images, -1 where not known; for a release with a conditional decoder.

        Raises:
            PipelineError: there are none and the release needs them, or the other way round.
        """
        inputs = {"codes": np.asarray(codes, np.int32)}
        if labels is not None:
            inputs["labels"] = np.asarray(labels, np.int32)
        return pixels_of(self._decode(**inputs))

    def waveform(self, frames: np.ndarray) -> np.ndarray:
        """Sound float32 [n, T · hop] of spectrograms uint8 [n, T, mels, 1], in one call."""
        return self._run("decode", "waveform", frames=tf.constant(frames, tf.uint8))["audio"]

    def sample(
        self,
        labels: Sequence[int],
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        guidance: float = 1.0,
    ) -> Drawn:
        """Images drawn from the prior, one for each label; -1 is unconditional."""
        signature, inputs = models.drawing(labels, seed, temperature, top_k, top_p, guidance)
        if signature not in self._model("sample").signatures:
            raise PipelineError(models.NO_GUIDANCE)
        drawn = self._run(
            "sample", signature, **{name: tf.constant(value) for name, value in inputs.items()}
        )
        images, codes = pixels_of(drawn), drawn["codes"]
        return Drawn(images, codes, self.release.version, drawn.get("audio"))

    def _encode(self, images: Sequence[bytes], kind: DataKind) -> np.ndarray:
        inputs = {ENCODED[kind]: tf.constant(images, tf.string)}
        return self._run("encode", **inputs)["codes"]

    def _decode(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        version = self.release.version
        if self.takes_labels() and "labels" not in inputs:
            raise PipelineError(models.NO_LABELS % version)
        if not self.takes_labels() and "labels" in inputs:
            raise PipelineError(f"release {version} decodes codes alone; leave the labels out")
        return self._run("decode", **{name: tf.constant(each) for name, each in inputs.items()})

    def _model(self, name: str) -> tf.Module:
        if name not in self._loaded:
            self._loaded[name] = load(self.release, name)
        return self._loaded[name]

    def _run(
        self, model: str, signature: str = "serving_default", **inputs: tf.Tensor
    ) -> dict[str, np.ndarray]:
        try:
            outputs = self._model(model).signatures[signature](**inputs)
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
            raise InvalidInput(errors.message(error)) from error
        return {name: value.numpy() for name, value in outputs.items()}


def load(release: Release, model: str) -> tf.Module:
    """A model of a release; the reader keeps it, since its signatures do not keep its variables.

    Raises:
        PipelineError: it is damaged.
    """
    try:
        return loading.load(release.path(model))
    except Exception as error:  # whatever a damaged graph makes TensorFlow raise
        raise PipelineError(
            f"{model} of release {release.version} cannot be loaded: {one_line(error)}; check it "
            "with `vqvae releases verify`"
        ) from error
