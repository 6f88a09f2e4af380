"""The programs in `examples/` read what `export` writes."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest
from framework import BACKEND
from keras import layers

import keras_derivs as kd

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
POINT = [0.5, -0.25]
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")
NO_EMPTY_BATCH = "ignore:.*takes no empty batch"  # files that Keras writes on JAX


@pytest.fixture(scope="module")
def model():
    net = keras.Sequential([keras.Input((2,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    x = keras.Input((2,), name="x")
    return keras.Model(x, {"u": net(x), "slope": kd.Gradient(net)(x)})


def expected(model):
    """The slope by central differences of values."""
    steps = 1e-2 * np.eye(2)
    up, down = (value(model, np.array(POINT) + s * steps) for s in (1, -1))
    return value(model, np.array([POINT])), (up - down).reshape(1, 2) / 2e-2


def value(model, x):
    return keras.ops.convert_to_numpy(model(x)["u"])


@pytest.mark.skipif(BACKEND == "torch", reason="Keras writes no SavedModel on PyTorch")
@pytest.mark.filterwarnings(NO_EMPTY_BATCH)
def test_a_server_answers_with_value_and_slope(model, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import serve

    kd.export(model, tmp_path / "model")
    with serve.server(str(tmp_path / "model"), 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_address[1]}"
        request = json.dumps({"instances": [POINT]}).encode()
        with urllib.request.urlopen(url, request, timeout=30) as answer:
            found = json.load(answer)["predictions"]
        for wrong in (b"{}", b"no json", json.dumps({"instances": [[1.0]]}).encode()):
            with pytest.raises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(url, wrong, timeout=30)
            assert raised.value.code == 400
            raised.value.close()
        running.shutdown()
    value, slope = expected(model)
    np.testing.assert_allclose(found["u"], value, rtol=1e-5)
    np.testing.assert_allclose(found["slope"], slope, atol=1e-3)


@pytest.mark.slow
def test_the_server_runs_without_keras():
    code = "import sys; sys.modules.update(keras=None, keras_derivs=None); import serve"
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES)}
    assert not subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode


def test_javascript_reads_value_and_slope(model, tmp_path):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    runtime = os.environ.get("NODE_PATH", str(EXAMPLES / "javascript" / "node_modules"))
    node = shutil.which("node")
    if node is None or not (pathlib.Path(runtime) / "onnxruntime-node").exists():
        pytest.skip("onnxruntime-node is not installed; see examples/javascript/slope.js")
    kd.export(model, tmp_path / "slope.onnx")
    command = [
        node,
        EXAMPLES / "javascript" / "slope.js",
        tmp_path / "slope.onnx",
        *map(str, POINT),
    ]
    environment = {**os.environ, "NODE_PATH": runtime}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found, (value, slope) = json.loads(ran.stdout), expected(model)
    np.testing.assert_allclose([found["u"]], value, rtol=1e-5)
    np.testing.assert_allclose([found["slope"]], slope, atol=1e-3)
