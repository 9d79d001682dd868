"""The program's own settings of Keras win over the user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

_SHOW = """
import keras
from keras import layers
config = keras.config
print(config.backend(), config.image_data_format(), config.floatx(), config.epsilon())
"""


def python(code: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess:
    (tmp_path / ".keras").mkdir(exist_ok=True)
    (tmp_path / ".keras" / "keras.json").write_text(
        json.dumps(
            {
                "backend": "torch",
                "floatx": "float16",
                "epsilon": 0.1,
                "image_data_format": "channels_first",
            }
        )
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": str(tmp_path), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


# A name of each package that is imported without TensorFlow: what comes first decides.
def test_settings_of_the_user_change_nothing(tmp_path):
    code = "import kubeflow, pipeline, components, models" + _SHOW
    said = python(code, tmp_path, KERAS_BACKEND="jax", TF_USE_LEGACY_KERAS="1")
    assert said.stdout.split() == ["tensorflow", "channels_last", "float32", "1e-07"], said.stderr
    # The user's file stays as it is, and gets no company.
    assert [path.name for path in (tmp_path / ".keras").iterdir()] == ["keras.json"]


@pytest.mark.parametrize("package", ["models", "components", "pipeline", "kubeflow"])
def test_every_package_sets_keras_up_first(package, tmp_path):
    code = (
        f"import os, sys, {package}; assert 'keras' not in sys.modules; "
        "print(os.environ['KERAS_BACKEND'], os.environ.get('TF_USE_LEGACY_KERAS'))"
    )
    said = python(code, tmp_path, KERAS_BACKEND="jax", TF_USE_LEGACY_KERAS="1")
    assert said.stdout.split() == ["tensorflow", "None"], said.stderr


def test_a_program_that_has_imported_keras_is_told(tmp_path):
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.py").write_text(
        "class config:\n    backend = staticmethod(lambda: 'torch')\n"
    )
    said = python("import keras\nimport models", tmp_path, PYTHONPATH=f"{tmp_path}")
    assert said.returncode != 0
    assert "Keras runs on torch in this process, and these models need TensorFlow" in said.stderr
