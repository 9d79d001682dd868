"""What the name of a file says: whether it is a TFRecord file, and of which split.

Written by tf.data, TensorFlow Datasets, the Object Detection API and others:

    a.tfrecord  a.tfrecord.gz  a.tfrecords  a.tfrec  a.record
    mnist-train.tfrecord-00000-of-00010    mnist_train.record-00000-of-00010
    a-00000-of-00010.tfrecord              validation-00000-of-00128
"""

from __future__ import annotations

import os
import re

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# What people call their splits, as a folder or in the names of files.
KINDS = {
    "train": TRAIN,
    "training": TRAIN,
    "eval": VALIDATION,
    "evaluation": VALIDATION,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}

_SHARD = r"-\d+-of-\d+"
# A hidden file, or one whose name goes on (`.tmp`, `.index`), is of somebody who still writes it.
# Without a suffix only `name-00000-of-00001`: a checkpoint has `.data-00000-of-00001`.
_TFRECORD = re.compile(
    rf"(?P<stem>[^.].*?)(?:{_SHARD})?\.(?:tfrecords?|tfrec|record)(?:{_SHARD})?(?:\.gz)?"
    rf"|(?P<bare>[^.]+){_SHARD}(?:\.gz)?"
)


def is_tfrecord(path: str) -> bool:
    """Whether the name is one of a finished TFRecord file, not of a temporary one."""
    return bool(_TFRECORD.fullmatch(os.path.basename(path)))


def split_word(path: str) -> str:
    """The word of `KINDS` in the name of a TFRecord file, in small letters; empty without one.

    Of several it is the last: `test_photos-train.tfrecord` is the train split of `test_photos`.
    Only whole words count, with or without a number: `val2017`, but not `constrained`.
    """
    found = _TFRECORD.fullmatch(os.path.basename(path))
    if not found:
        return ""
    words = re.findall(r"[a-z]+", (found["stem"] or found["bare"]).lower())
    return next((word for word in reversed(words) if word in KINDS), "")
