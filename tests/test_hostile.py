"""Configs from strangers: what asks for too much is refused at once, and takes no memory."""

import time
import tracemalloc

import keras
import numpy as np
import pytest
from keras import layers
from models import build

import keras_derivs as kd

SECONDS, MEGABYTES = 0.5, 4  # for each; a second more is far below what the sizes would take


class Many(list):
    """A list of a hundred million items that takes no memory."""

    def __len__(self):
        return 100_000_000

    def __iter__(self):
        raise MemoryError("the list was read")


def net():
    return build("sequential", "float32")[0]


def laplacian(**change):
    return kd.Laplacian.from_config({**kd.Laplacian(net(), num_samples=2).get_config(), **change})


def jacobian(**change):
    return kd.SubJacobian.from_config({**kd.SubJacobian(net()).get_config(), **change})


def partials(**change):
    return kd.Partials.from_config({**kd.Partials(net(), [()]).get_config(), **change})


def jvp(**change):
    return kd.JVP.from_config({**kd.JVP(net()).get_config(), **change})


def nested(times):
    layer = net()
    for _ in range(times):
        layer = kd.Jacobian(layer)
    return layer


MILLION = [[0]] * 1_000_000
DEEP = []
for _ in range(100_000):
    DEEP = [DEEP]

ROWS = {
    "samples": (lambda: laplacian(num_samples=300_000_000), "num_samples=.*1,048,576.*300000000"),
    "chunk": (lambda: jacobian(chunk_size=10**30), "chunk_size=.*2,147,483,647"),
    "seed": (lambda: laplacian(seed=10**30), "seed=.*32 bits"),
    "weights": (lambda: laplacian(weights=Many()), "weights=.*16,777,216 numbers.*100000000"),
    "directions": (lambda: laplacian(directions=[Many()]), "directions=.*16,777,216 numbers"),
    "deep weights": (lambda: laplacian(weights=DEEP), "weights="),
    "outputs": (lambda: jacobian(outputs=[Many()]), "outputs=.*16,777,216 indices.*100000000"),
    "range": (lambda: jacobian(outputs=[{"range": [0, 10**12, 1]}]), "outputs=.*-2 to 1"),
    "longer range": (lambda: jacobian(outputs=[{"range": [0, 10**30, 1]}]), "outputs=.*-2 to 1"),
    "axes": (lambda: jacobian(outputs=Many()), "outputs=.*32 axes.*100000000"),
    "digits": (lambda: jacobian(outputs=[10**5000]), "outputs=.*-2 to 1.*Leave out"),
    "terms": (lambda: partials(terms=MILLION), "terms=.*65,536 derivatives.*1000000"),
    "long term": (lambda: partials(terms=[Many()]), "A term needs|Received"),
    "high term": (lambda: partials(terms=[[0] * 1_000_000]), "at most 256.*order 1000000"),
    "lower terms": (lambda: partials(terms=[[0, 1, 2] * 3] * 9999), "terms=.*lower ones"),
    "feature": (lambda: partials(terms=[[10**5000]]), "features from 0 to 2"),
    "vectors": (lambda: jvp(vectors=Many()), "vectors=.*16,777,216 numbers"),
    "wrt": (lambda: jvp(wrt=Many()), "wrt=.*100000000"),
    "nested": (lambda: nested(30), "Jacobian.*16 derivatives of derivatives"),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_asks_for_too_much_is_refused_at_once(name):
    make, words = ROWS[name]
    net()  # what Keras imports at first use
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises((ValueError, TypeError), match=f"(?s){words}") as caught:
        make()
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(caught.value)) < 1000
    assert name == "nested" or (seconds < SECONDS and peak < MEGABYTES * 2**20)


def test_a_huge_input_costs_nothing_before_it_is_computed():
    x = keras.Input((10**9,))
    y = layers.GlobalAveragePooling1D()(layers.Reshape((-1, 1))(x))
    for make in (
        lambda: kd.Partials(keras.Model(x, y), [(5,)]),
        lambda: kd.Laplacian(keras.Model(x, y), num_samples=3),
        lambda: kd.fuse(keras.Model(x, [kd.laplacian(y, x), kd.gradient(y, x)])),
    ):
        tracemalloc.start()
        make()
        tracemalloc.stop()
