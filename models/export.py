"""SavedModels of a trained VQ-VAE and its prior, one function per serving signature.

They load with `tf.saved_model.load` or TensorFlow Serving and need none of this code. Input
that cannot be used is INVALID_ARGUMENT and the message names the input.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from models.arguments import checked, never_empty, require
from models.exported import FACTS, SERVED
from models.identity import codebook_sha256, identity_signature, release_of, release_table
from models.medium import Medium
from models.priors import Prior
from models.sampling_signatures import sampling_signatures
from models.vqvae import VQVAE

# Serialized Examples [N] -> `image` uint8 [N, H, W, C] and, if there are labels, `label` int32
# [N], -1 for none.
Parse = Callable[[tf.Tensor], dict[str, tf.Tensor]]

# Nobody trains what is exported, and tracing gradients takes as long as all the rest.
_FORWARD_ONLY = tf.saved_model.SaveOptions(experimental_custom_gradients=False)


class _Exported(tf.Module):
    """What a SavedModel is made of: weights, and whatever else its signatures use."""

    def __init__(self, weights: Iterable, **resources):
        super().__init__()
        # A flat list, so that the weights can be read back without the Keras object graph.
        self.weights = [weight.value for weight in weights]
        for name, resource in resources.items():
            setattr(self, name, resource)


def export_vqvae(vqvae: VQVAE, directory: str) -> None:
    """Writes the SavedModel of a VQ-VAE alone: signature `pixels` (images -> codes).

    Its weights can be read back with `restore_vqvae`.
    """

    @tf.function(input_signature=[_images_spec(vqvae)])
    def pixels(images):
        return {"codes": vqvae.encode(checked(images))}

    tf.saved_model.save(
        _Exported(vqvae.variables), directory, signatures={"pixels": pixels}, options=_FORWARD_ONLY
    )


def restore_vqvae(vqvae: VQVAE, directory: str) -> None:
    """Reads the weights that `export_vqvae` wrote into a VQ-VAE of the same configuration."""
    checkpoint = tf.train.Checkpoint(weights=[weight.value for weight in vqvae.variables])
    status = checkpoint.read(f"{directory}/variables/variables")
    status.assert_existing_objects_matched()


def export_release(
    vqvae: VQVAE,
    prior: Prior,
    medium: Medium,
    preprocess_resources: object,
    parse: Parse,
    combined: str,
    release: str,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Writes the combined SavedModel, and beside it the three that are served.

    Args:
        vqvae, prior: trained networks.
        medium: what `encode` takes, and `decode` and `sample` give.
        preprocess_resources: trackable object that owns what `medium.preprocess` uses.
        parse: of serialized transformed Examples.
        combined: directory for signatures encode, pixels, decode, sample and evaluate.
        release: directory for what `models.exported` names.
        facts: more of them, which a release's manifest repeats.
    """
    sha256 = codebook_sha256(vqvae)
    with tempfile.TemporaryDirectory() as scratch:
        version = release_table(scratch)
        encode = _encode(vqvae, medium, version)
        pixels = _pixels(vqvae, version)
        decode = _decode(vqvae, prior.num_classes, medium)
        sample = sampling_signatures(vqvae, prior, medium)
        identity = identity_signature(version, sha256, medium.told)
        encoder = [*vqvae.encoder.variables, *vqvae.quantizer.variables]
        decoder = [*vqvae.decoder.variables, *vqvae.quantizer.variables]
        resources = {"preprocess": preprocess_resources, "release": version}

        encode_folder, decode_folder, sample_folder = (f"{release}/{name}" for name in SERVED)
        tf.saved_model.save(
            _Exported(encoder, **resources),
            encode_folder,
            signatures={"serving_default": encode, "pixels": pixels, "identity": identity},
            options=_FORWARD_ONLY,
        )
        tf.saved_model.save(
            _Exported(decoder, release=version),
            decode_folder,
            signatures={"serving_default": decode, **medium.signatures, "identity": identity},
            options=_FORWARD_ONLY,
        )
        tf.saved_model.save(
            _Exported([*decoder, *prior.variables], release=version),
            sample_folder,
            signatures={**sample, "identity": identity},
            options=_FORWARD_ONLY,
        )
        tf.saved_model.save(
            _Exported([*vqvae.variables, *prior.variables], **resources),
            combined,
            signatures={
                "serving_default": encode,
                "encode": encode,
                "pixels": pixels,
                "decode": decode,
                "sample": sample["serving_default"],
                "evaluate": _evaluate(vqvae, prior, parse),
            },
            options=_FORWARD_ONLY,
        )
    known = {
        "codebook_sha256": sha256,
        "image": list(vqvae.config.image.hwc),
        "code_shape": list(vqvae.config.code_shape),
        "num_codes": vqvae.quantizer.num_codes,
        "num_classes": prior.num_classes,
        "vqvae_parameters": int(vqvae.count_params()),
        "prior_parameters": int(prior.count_params()),
        **(facts or {}),
    }
    Path(release, FACTS).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def _encode(vqvae: VQVAE, medium: Medium, version: tf.lookup.StaticHashTable):
    # The argument is what the input is called.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, medium.encoded)])
    def encode(encoded):
        codes = _codes(vqvae, medium.preprocess(checked(encoded)))
        return {"codes": codes, "release": release_of(version, codes)}

    return encode


def _pixels(vqvae: VQVAE, version: tf.lookup.StaticHashTable):
    @tf.function(input_signature=[_images_spec(vqvae)])
    def pixels(images):
        codes = _codes(vqvae, checked(images))
        return {"codes": codes, "release": release_of(version, codes)}

    return pixels


def _decode(vqvae: VQVAE, num_classes: int, medium: Medium):
    """From codes, and of a conditional decoder from labels too."""
    spec = tf.TensorSpec([None, *vqvae.config.code_shape], tf.int32, "codes")
    last = vqvae.quantizer.num_codes - 1

    def decoded(codes, requirements, *labels):
        # On a GPU a gather out of range would silently give zeros.
        valid = tf.reduce_all((codes >= 0) & (codes <= last))
        requirements = [require(valid, f"codes must be 0 to {last}", codes), *requirements]
        with tf.control_dependencies(requirements):
            rows = [never_empty(each) for each in (codes, *labels)]
            return medium.made(vqvae.decode(*rows)[: tf.shape(codes)[0]])

    @tf.function(input_signature=[spec])
    def decode(codes):
        return decoded(checked(codes), [])

    @tf.function(input_signature=[spec, tf.TensorSpec([None], tf.int32, "labels")])
    def decode_for(codes, labels):
        codes, labels = checked(codes), checked(labels)
        counts = tf.shape(codes)[0], tf.shape(labels)[0]
        known = f"labels must be -1 (not known) to {num_classes - 1}"
        requirements = [
            require(tf.equal(*counts), "labels must be as many as there are codes", counts),
            require(tf.reduce_all((labels >= -1) & (labels < num_classes)), known, labels),
        ]
        return decoded(codes, requirements, labels)

    return decode_for if vqvae.config.model.decoder.conditional else decode


def _codes(vqvae: VQVAE, pixels):
    return vqvae.encode(never_empty(pixels))[: tf.shape(pixels)[0]]


def _evaluate(vqvae: VQVAE, prior: Prior, parse: Parse):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def evaluate(examples):
        parsed = parse(examples)
        unconditional = tf.fill([tf.shape(parsed["image"])[0]], -1)
        measured = vqvae.measure(parsed["image"], parsed.get("label", unconditional))
        codes = tf.reshape(measured["codes"], [-1, *vqvae.config.code_shape])
        bits = -prior.log_prob(codes, unconditional) / tf.math.log(2.0)
        if prior.num_classes and "label" in parsed:
            # A label that training never saw says nothing.
            labels = tf.where(parsed["label"] < prior.num_classes, parsed["label"], -1)
            given_label = -prior.log_prob(codes, labels) / tf.math.log(2.0)
        else:
            given_label = bits
        return {
            **measured,
            "prior_bits": bits,
            "prior_bits_given_label": given_label,
            # A release is measured beside candidates with another codebook.
            "num_codes": tf.fill([tf.shape(codes)[0]], vqvae.quantizer.num_codes),
            "num_classes": tf.fill([tf.shape(codes)[0]], prior.num_classes),
            "codebooks": tf.fill([tf.shape(codes)[0]], vqvae.quantizer.codebooks),
        }

    return evaluate


def _images_spec(vqvae: VQVAE) -> tf.TensorSpec:
    return tf.TensorSpec([None, *vqvae.config.image.hwc], tf.uint8, "images")
