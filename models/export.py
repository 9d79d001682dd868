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

from models.exported import FACTS, SERVED
from models.identity import codebook_sha256, identity_signature, release_of, release_table
from models.priors import Prior
from models.sampler import sample as sample_codes
from models.vqvae import VQVAE

Preprocess = Callable[[tf.Tensor], tf.Tensor]  # string [N] -> uint8 [N, H, W, C]
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
        return {"codes": vqvae.encode(_checked(images))}

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
    preprocess: Preprocess,
    preprocess_resources: object,
    parse: Parse,
    combined: str,
    release: str,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Writes the combined SavedModel, and beside it the three that are served.

    Args:
        vqvae, prior: trained networks.
        preprocess: encoded images to the pixels that the networks were trained on.
        preprocess_resources: trackable object that owns what `preprocess` uses.
        parse: of serialized transformed Examples.
        combined: directory for signatures encode, pixels, decode, sample and evaluate.
        release: directory for what `models.exported` names.
        facts: more of them, which a release's manifest repeats.
    """
    sha256 = codebook_sha256(vqvae)
    with tempfile.TemporaryDirectory() as scratch:
        version = release_table(scratch)
        encode = _encode(vqvae, preprocess, version)
        pixels = _pixels(vqvae, version)
        decode, sample = _decode(vqvae), _sample(vqvae, prior)
        identity = identity_signature(version, sha256)
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
            signatures={"serving_default": decode, "identity": identity},
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


def _encode(vqvae: VQVAE, preprocess: Preprocess, version: tf.lookup.StaticHashTable):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "images")])
    def encode(images):
        codes = _codes(vqvae, preprocess(_checked(images)))
        return {"codes": codes, "release": release_of(version, codes)}

    return encode


def _pixels(vqvae: VQVAE, version: tf.lookup.StaticHashTable):
    @tf.function(input_signature=[_images_spec(vqvae)])
    def pixels(images):
        codes = _codes(vqvae, _checked(images))
        return {"codes": codes, "release": release_of(version, codes)}

    return pixels


def _decode(vqvae: VQVAE):
    spec = tf.TensorSpec([None, *vqvae.config.code_shape], tf.int32, "codes")
    last = vqvae.quantizer.num_codes - 1

    @tf.function(input_signature=[spec])
    def decode(codes):
        codes = _checked(codes)
        # On a GPU a gather out of range would silently give zeros.
        valid = tf.reduce_all((codes >= 0) & (codes <= last))
        with tf.control_dependencies([_require(valid, f"codes must be 0 to {last}", codes)]):
            return {"images": vqvae.decode(_never_empty(codes))[: tf.shape(codes)[0]]}

    return decode


def _sample(vqvae: VQVAE, prior: Prior) -> dict[str, Callable]:
    """Signatures that draw images, by what is asked for besides labels and a seed."""
    code_shape = vqvae.config.code_shape
    plain = [
        tf.TensorSpec([None], tf.int32, "labels"),
        tf.TensorSpec([], tf.int64, "seed"),
        tf.TensorSpec([], tf.float32, "temperature"),
    ]
    controls = [tf.TensorSpec([], tf.int32, "top_k"), tf.TensorSpec([], tf.float32, "top_p")]
    given = [
        tf.TensorSpec([None, *code_shape], tf.int32, "codes"),
        tf.TensorSpec([], tf.int32, "rows_given"),
    ]

    def drawn(**inputs):
        inputs = {name: _checked(value) for name, value in inputs.items()}
        # In front of the loop, which would otherwise run meanwhile and may fail first.
        with tf.control_dependencies(_sample_requirements(prior, code_shape, **inputs)):
            inputs = {name: tf.identity(value) for name, value in inputs.items()}
        count = tf.shape(inputs["labels"])[0]
        rows = {
            name: _never_empty(inputs.pop(name)) for name in ("labels", "codes") if name in inputs
        }
        codes = sample_codes(prior, **rows, **inputs)
        return {"images": vqvae.decode(codes)[:count], "codes": codes[:count]}

    @tf.function(input_signature=plain)
    def sample(labels, seed, temperature):
        return drawn(labels=labels, seed=seed, temperature=temperature)

    @tf.function(input_signature=[*plain, *controls])
    def controlled(labels, seed, temperature, top_k, top_p):
        return drawn(labels=labels, seed=seed, temperature=temperature, top_k=top_k, top_p=top_p)

    @tf.function(input_signature=[*plain, *controls, *given])
    def complete(labels, seed, temperature, top_k, top_p, codes, rows_given):
        return drawn(
            labels=labels,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            codes=codes,
            rows_given=rows_given,
        )

    # Not an input of `controlled`: TensorFlow Serving refuses a call that lacks an input, and
    # clients that know nothing of it would no longer be answered.
    @tf.function(input_signature=[*plain, *controls, tf.TensorSpec([], tf.float32, "guidance")])
    def guided(labels, seed, temperature, top_k, top_p, guidance):
        return drawn(
            labels=labels,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            guidance=guidance,
        )

    return {
        "serving_default": sample,
        "controlled": controlled,
        "complete": complete,
        "guided": guided,
    }


def _codes(vqvae: VQVAE, pixels):
    return vqvae.encode(_never_empty(pixels))[: tf.shape(pixels)[0]]


def _never_empty(rows):
    """`[N, ...]` -> `[max(N, 1), ...]`, with zeros where there was nothing.

    oneDNN refuses a batch of none: one row is computed instead, and left out again.
    """
    missing = tf.maximum(1 - tf.shape(rows)[0], 0)
    return tf.pad(rows, [[0, missing], *[[0, 0]] * (rows.shape.rank - 1)])


def _sample_requirements(
    prior: Prior,
    code_shape: tuple[int, ...],
    labels,
    seed,
    temperature,
    top_k=None,
    top_p=None,
    codes=None,
    rows_given=None,
    guidance=None,
) -> list[tf.Operation]:
    last = prior.num_classes - 1
    allowed = f"-1 (unconditional) to {last}" if prior.num_classes else "-1 (no labels in training)"
    valid = tf.reduce_all((labels >= -1) & (labels <= last))
    required = [
        _require(valid, f"labels must be {allowed}", labels),
        _require(
            tf.math.is_finite(temperature) & (temperature > 0.0),
            "temperature must be finite and above 0",
            temperature,
        ),
    ]
    if top_k is not None:
        valid = (top_p > 0.0) & (top_p <= 1.0)
        required += [
            _require(top_k >= 0, "top_k must be 0 (all codes) or more", top_k),
            _require(valid, "top_p must be above 0 and at most 1 (all codes)", top_p),
        ]
    if guidance is not None:
        required.append(_guidance_requirement(prior, guidance))
    if codes is not None:
        rows, last = code_shape[0], prior.num_codes - 1
        counts = tf.shape(codes)[0], tf.shape(labels)[0]
        kept = codes[:, : tf.clip_by_value(rows_given, 0, rows)]
        required += [
            _require(
                (rows_given >= 0) & (rows_given <= rows),
                f"rows_given must be 0 to {rows}",
                rows_given,
            ),
            _require(tf.equal(*counts), "codes must be as many images as there are labels", counts),
            _require(
                tf.reduce_all((kept >= 0) & (kept <= last)),
                f"codes must be 0 to {last} in the rows given",
                kept,
            ),
        ]
    return required


def _guidance_requirement(prior: Prior, guidance) -> tf.Operation:
    if prior.num_classes and prior.config.unconditional_fraction > 0.0:
        valid = tf.math.is_finite(guidance) & (guidance >= 0.0)
        return _require(valid, "guidance must be finite and at least 0", guidance)
    why = "no label was hidden" if prior.num_classes else "no labels"
    valid = tf.equal(guidance, 1.0)
    return _require(valid, f"guidance must be 1, for none ({why} in training)", guidance)


def _evaluate(vqvae: VQVAE, prior: Prior, parse: Parse):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def evaluate(examples):
        parsed = parse(examples)
        measured = vqvae.measure(parsed["image"])
        codes = tf.reshape(measured["codes"], [-1, *vqvae.config.code_shape])
        unconditional = tf.fill([tf.shape(codes)[0]], -1)
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


def _checked(argument):
    """The argument of a signature, its shape checked when it runs and not only when traced.

    A loaded signature takes a tensor of any rank, and a kernel further on may abort the process.
    The name of the argument is in the message.
    """
    return tf.ensure_shape(argument, argument.shape)


def _require(condition, message: str, received) -> tf.Operation:
    """A check; what uses the value must depend on it, or may run first and fail first."""
    return tf.debugging.Assert(condition, [message + ". Received:", received], summarize=8)
