"""Configs from strangers: what asks for too much is refused at once, and takes no memory."""

import time
import tracemalloc

import keras
import pytest
from keras import ops
from models import build

import keras_derivs as kd

SECONDS, MEGABYTES = 3, 16  # on a busy machine; far below what the sizes would take


class Many(list):
    """A list of a hundred million items that takes no memory."""

    def __len__(self):
        return 100_000_000

    def __iter__(self):
        raise MemoryError("the list was read")


def net():
    return build("sequential", "float32")[0]


LAYERS = {
    "Laplacian": lambda: kd.Laplacian(net(), num_samples=2),
    "SubJacobian": lambda: kd.SubJacobian(net()),
    "Partials": lambda: kd.Partials(net(), [()]),
    "JVP": lambda: kd.JVP(net()),
}


def nested(times):
    layer = net()
    for _ in range(times):
        layer = kd.Jacobian(layer)
    return layer


MILLION = [[0]] * 1_000_000
ROWS = {
    "samples": ("Laplacian", "num_samples", 300_000_000, "at most 1,048,576.*300000000"),
    "samples of 1e8 figures": ("Laplacian", "num_samples", 10**5000, "at most 1,048,576"),
    "chunk": ("SubJacobian", "chunk_size", 10**30, "at most 2,147,483,647"),
    "seed": ("Laplacian", "seed", 10**30, "32 bits"),
    "weights": ("Laplacian", "weights", Many(), "16,777,216 numbers.*100000000"),
    "directions": ("Laplacian", "directions", [Many()], "16,777,216 numbers"),
    "outputs": ("SubJacobian", "outputs", [Many()], "16,777,216 indices.*100000000"),
    "range": ("SubJacobian", "outputs", [{"range": [0, 10**12, 1]}], "from -2 to 1"),
    "long range": ("SubJacobian", "outputs", [{"range": [0, 10**30, 1]}], "from -2 to 1"),
    "not a range": ("SubJacobian", "outputs", [{"range": [0, 1, 0]}], "moves"),
    "axes": ("SubJacobian", "outputs", Many(), "at most 32 axes.*100000000"),
    "digits": ("SubJacobian", "outputs", [10**5000], "from -2 to 1.*Leave out"),
    "open range": ("SubJacobian", "outputs", [{"range": [None, 1, 1]}], "None"),
    "terms": ("Partials", "terms", MILLION, "at most 65,536 derivatives.*1000000"),
    "long term": ("Partials", "terms", [Many()], "at most 256.*order 100000000"),
    "high term": ("Partials", "terms", [[0] * 1_000_000], "at most 256.*order 1000000"),
    "lower terms": ("Partials", "terms", [[0, 1, 2] * 3] * 9999, "at most 65,536.*lower ones"),
    "feature": ("Partials", "terms", [[10**5000]], "from 0 to 2"),
    "vectors": ("JVP", "vectors", Many(), "16,777,216 numbers"),
    "wrt": ("JVP", "wrt", Many(), "at most.*inputs.*100000000"),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_asks_for_too_much_is_refused_at_once(name):
    layer, argument, value, words = ROWS[name]
    config = {**LAYERS[layer]().get_config(), argument: value}
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises((ValueError, TypeError), match=f"(?s){argument}=.*{words}") as caught:
        getattr(kd, layer).from_config(config)
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(caught.value)) < 1000
    assert seconds < SECONDS and peak < MEGABYTES * 2**20


def test_derivatives_of_derivatives_without_end_are_refused():
    with pytest.raises(ValueError, match="Jacobian.*at most 16 derivatives of derivatives"):
        nested(30)


def test_a_result_that_no_memory_holds_is_refused():
    x = keras.Input((70_000,))
    with pytest.raises(ValueError, match="'jacobian.*entries per sample.*SubJacobian"):
        kd.Jacobian(keras.Model(x, ops.sin(x)))
