"""The signatures of a release that draw images, and what their arguments must be."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from models import sampler
from models.arguments import checked, never_empty, require
from models.medium import Medium
from models.priors import Prior
from models.vqvae import VQVAE


def sampling_signatures(vqvae: VQVAE, prior: Prior, medium: Medium) -> dict[str, Callable]:
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
        inputs = {name: checked(value) for name, value in inputs.items()}
        # In front of the loop, which would otherwise run meanwhile and may fail first.
        with tf.control_dependencies(_requirements(prior, code_shape, **inputs)):
            inputs = {name: tf.identity(value) for name, value in inputs.items()}
        count = tf.shape(inputs["labels"])[0]
        rows = {
            name: never_empty(inputs.pop(name)) for name in ("labels", "codes") if name in inputs
        }
        codes = sampler.sample(prior, **rows, **inputs)
        images = vqvae.decode(codes, rows["labels"])[:count]
        return {**medium.made(images), "codes": codes[:count]}

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


def _requirements(
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
        require(valid, f"labels must be {allowed}", labels),
        require(
            tf.math.is_finite(temperature) & (temperature > 0.0),
            "temperature must be finite and above 0",
            temperature,
        ),
    ]
    if top_k is not None:
        valid = (top_p > 0.0) & (top_p <= 1.0)
        required += [
            require(top_k >= 0, "top_k must be 0 (all codes) or more", top_k),
            require(valid, "top_p must be above 0 and at most 1 (all codes)", top_p),
        ]
    if guidance is not None:
        required.append(_guidance_requirement(prior, guidance))
    if codes is not None:
        rows, last = code_shape[0], prior.num_codes - 1
        counts = tf.shape(codes)[0], tf.shape(labels)[0]
        kept = codes[:, : tf.clip_by_value(rows_given, 0, rows)]
        required += [
            require(
                (rows_given >= 0) & (rows_given <= rows),
                f"rows_given must be 0 to {rows}",
                rows_given,
            ),
            require(tf.equal(*counts), "codes must be as many images as there are labels", counts),
            require(
                tf.reduce_all((kept >= 0) & (kept <= last)),
                f"codes must be 0 to {last} in the rows given",
                kept,
            ),
        ]
    return required


def _guidance_requirement(prior: Prior, guidance) -> tf.Operation:
    if prior.num_classes and prior.config.unconditional_fraction > 0.0:
        valid = tf.math.is_finite(guidance) & (guidance >= 0.0)
        return require(valid, "guidance must be finite and at least 0", guidance)
    why = "no label was hidden" if prior.num_classes else "no labels"
    valid = tf.equal(guidance, 1.0)
    return require(valid, f"guidance must be 1, for none ({why} in training)", guidance)
