"""A client from the package index that no one here wrote.

`min-tfs-client` brings modules called `tensorflow` and `tensorflow_serving` and wants the protobuf
of their time, so it lives in an environment of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import ROOT
from tests.fixtures.served_releases import GenericClient, serving

pytestmark = pytest.mark.slow

PACKAGES = ("min-tfs-client==1.0.2", "protobuf<3.21")
PROGRAM = """
import json, sys
import numpy as np
from min_tfs_client.requests import TensorServingClient
from min_tfs_client.tensors import tensor_proto_to_ndarray

client = TensorServingClient("localhost", int(sys.argv[1]))

def ask(model, **inputs):
    answer = client.predict_request(model, inputs, timeout=60)
    return {name: tensor_proto_to_ndarray(proto) for name, proto in answer.outputs.items()}

images = ask("decode", codes=np.array(json.loads(sys.argv[2]), np.int32))["images"]
drawn = ask("sample", labels=np.array([0, 1], np.int32), seed=np.array(3, np.int64),
            temperature=np.array(1, np.float32))
print(json.dumps({"images": images.tolist(), "drawn": drawn["images"].tolist(),
                  "codes": drawn["codes"].tolist(), "dtype": str(images.dtype)}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of the client's environment."""
    own = ROOT / ".tools" / "uv" / "bin" / "uv"
    uv = str(own) if own.is_file() else shutil.which("uv")
    assert uv, "uv is in .tools/ after scripts/setup.sh"
    folder = tmp_path_factory.mktemp("client") / "env"
    python = folder / "bin" / "python"
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "install", "--quiet", "--python", str(python), *PACKAGES],
    ):
        subprocess.run([uv, *command], check=True)
    return python


def test_it_reads_our_answers(first_release, python):
    codes = np.arange(12, dtype=np.int32).reshape(3, 2, 2)
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with serving(first_release) as running:
        done = subprocess.run(
            [python, "-c", PROGRAM, str(running.port), json.dumps(codes.tolist())],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
        client = GenericClient(running.port)
        images = client.predict("decode", codes=codes)["images"]
        drawn = client.predict(
            "sample",
            labels=np.array([0, 1], np.int32),
            seed=np.int64(3),
            temperature=np.float32(1),
        )
    answer = json.loads(done.stdout)
    assert answer["dtype"] == "uint8"
    np.testing.assert_array_equal(answer["images"], images)
    np.testing.assert_array_equal(answer["drawn"], drawn["images"])
    np.testing.assert_array_equal(answer["codes"], drawn["codes"])
