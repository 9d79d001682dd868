"""The SavedModels of a trained prior and its VQ-VAE, and what a server finds beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
import tensorflow_transform as tft

from components import features
from components.kinds import AudioKind, ImageKind
from components.tf_serving import batching, warmup
from components.trainer import exported
from components.trainer.pictures import write_png
from components.trainer.records import parse_images
from models.export import export_release
from models.images import unpack_pixels
from models.medium import Medium, Preprocess, audio_medium, image_medium
from models.priors import Prior
from models.vqvae import VQVAE


def export(
    vqvae: VQVAE,
    prior: Prior,
    samples: tf.Tensor,
    transform_graph: str,
    kind: ImageKind | AudioKind,
    serving_model_dir: str,
    began_with: Mapping[str, str],
) -> None:
    """Writes all that `components.trainer.exported` tells.

    Args:
        vqvae, prior: trained networks.
        samples: picture of what the prior draws, uint8 `[H, W, C]`.
        transform_graph: folder of what Transform found out.
        kind: of the data that it transforms.
        serving_model_dir: for the combined SavedModel; the others go to `release/` beside it.
        began_with: what the training of each network began with.
    """
    network = vqvae.config
    transform = _Preprocessing(transform_graph, kind)
    release = exported.release(Path(serving_model_dir).parent)
    export_release(
        vqvae,
        prior,
        medium=_medium(transform, kind),
        preprocess_resources=transform.layer,
        parse=parse_images(network.image),
        combined=serving_model_dir,
        release=str(release),
        facts={"began_with": dict(began_with), **kind.model_dump(exclude={"image"})},
    )
    warmup.write(release, kind, network.code_shape, network.model.decoder.conditional)
    batching.write(release)
    write_png(samples, release / exported.SAMPLES)


def _medium(preprocess: Preprocess, kind: ImageKind | AudioKind) -> Medium:
    if kind.kind == "audio":
        return audio_medium(preprocess, kind.audio)
    return image_medium(preprocess)


class _Preprocessing:
    """The Transform graph on what is encoded alone, as it is part of the encode SavedModel.

    Attributes:
        layer: owns what the graph uses.
    """

    def __init__(self, transform_graph: str, kind: ImageKind | AudioKind):
        transform = tft.TFTransformOutput(transform_graph)
        self.layer = transform.transform_features_layer()
        self._spec = transform.raw_feature_spec()[kind.feature]
        self._feature, self._shape = kind.feature, kind.shape

    def __call__(self, encoded):
        """string `[N]` -> uint8 `[N, H, W, C]`."""
        raw = encoded
        if isinstance(self._spec, tf.io.VarLenFeature):  # a schema without shapes
            raw = tf.sparse.from_dense(encoded[:, None])
        elif self._spec.shape:
            raw = encoded[:, None]
        transformed = self.layer({self._feature: raw})
        return unpack_pixels(transformed[features.IMAGE], self._shape)
