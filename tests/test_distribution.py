"""Training on two devices gives the numbers of one."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
TOLERANCE = 1e-5
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
TENSORFLOW = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
JAX = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
pytestmark = pytest.mark.slow


def start(*command, **environment):
    path = os.pathsep.join(map(str, (HERE.parent, HERE.parent / "examples")))
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


def results(*processes):
    """What each printed in its last line."""
    try:
        told = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, told):
        assert process.returncode == 0, errors[-3000:]
    return [json.loads(output.splitlines()[-1]) for output, _ in told]


@pytest.mark.skipif(not ON_TENSORFLOW, reason="it is about TensorFlow")
def test_a_mirrored_model_trains_as_on_one_device():
    (found,) = results(start(HERE / "run_distributed.py", "mirrored", **TENSORFLOW))
    assert found["even"] < TOLERANCE
    # replicas are weighed equally, however few rows they have: Keras's own, finite all the same
    uneven = found["uneven"]
    assert all(1e-4 < uneven[key] < 0.5 for key in ("plain", "derivatives")), uneven


@pytest.mark.parametrize("way", ["data", "model"])
def test_sharded_over_two_devices_of_jax(way):
    pytest.importorskip("jax")
    (found,) = results(start(HERE / "run_distributed.py", way, **JAX))
    assert found["even"] < TOLERANCE


def addresses(count):
    """Free ports on this machine."""
    places = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [f"127.0.0.1:{place.getsockname()[1]}" for place in places]
    for place in places:
        place.close()
    return found


@pytest.mark.skipif(not ON_TENSORFLOW, reason="it is about TensorFlow")
def test_two_workers_train_as_one():
    cluster = {"worker": addresses(2)}
    places = [{"cluster": cluster, "task": {"type": "worker", "index": n}} for n in range(2)]
    program = HERE / "run_distributed.py"
    processes = [
        start(program, "worker", TF_CONFIG=json.dumps(place), **TENSORFLOW) for place in places
    ]
    *several, alone = results(*processes, start(program, "alone", **TENSORFLOW))
    for found in several:
        np.testing.assert_allclose(found["losses"], alone["losses"], rtol=TOLERANCE)
        for ours, theirs in zip(found["weights"], alone["weights"], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=TOLERANCE * np.max(np.abs(theirs)))
        # each gradient of a weight once, packed or not, and the loss
        assert sum(found["communicated"]) == sum(map(len, alone["weights"])) + 1


PROGRAM = """
import json, collectives
counts = (collectives.ROWS, 2 * collectives.ROWS)
print(json.dumps([list(collectives.measured(collectives.data_parallel(), n)) for n in counts]))
"""


def test_a_step_communicates_gradients_of_weights_only():
    pytest.importorskip("jax")
    path = os.pathsep.join(map(str, (HERE.parent, HERE.parent / "benchmarks")))
    ((few, many),) = results(start("-c", PROGRAM, PYTHONPATH=path))
    assert few == many  # however many rows
    assert {name for name, *_ in few} >= {"u", "u, Laplacian"}
    for name, weights, collectives in few:
        assert set(collectives) == {"all-reduce"}, name
        assert set(weights) <= set(collectives["all-reduce"]) <= {*weights, 1}, name
