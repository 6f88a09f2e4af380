"""Functions whose values are chosen at single points are told of: the derivative is not theirs."""

import keras
import numpy as np
import pytest
from framework import BACKEND
from keras import ops
from truth import numpy

import keras_derivs as kd

TOLD = {
    "equal": lambda x: ops.where(x == 0, 1.0, ops.sin(x) / x),
    "not equal": lambda x: ops.where(x != 0, ops.sin(x) / x, 1.0),
    "both": lambda x: ops.where(ops.logical_and(x == 1.0, x > 0), 1.0, ops.log(x) / (x - 1)),
    "to a tensor": lambda x: ops.where(ops.equal(x, ops.zeros_like(x)), 1.0, ops.sin(x) / x),
    "no number": lambda x: ops.nan_to_num(ops.sin(x) / x, nan=1.0),
    "is no number": lambda x: ops.where(ops.isnan(ops.sin(x) / x), 1.0, ops.sin(x) / x),
}
NOT_TOLD = {
    "sinc": ops.sinc,
    "nan_to_num": ops.nan_to_num,
    "where": lambda x: ops.where(x > 0, x, ops.sin(x)),
    "functions of pieces": lambda x: ops.hypot(ops.logaddexp(x, 2 * x), ops.cos(x)),
    "nansum": lambda x: ops.nansum(x, axis=1, keepdims=True) * ops.normalize(x),
    "one_hot": lambda x: x * ops.cast(ops.one_hot(ops.full_like(x, 1, "int32"), 3)[..., 0], x.dtype),
    "mod": lambda x: ops.mod(x, 2.0),
    "divide_no_nan": lambda x: ops.divide_no_nan(ops.sin(x), x),
    "isinf": lambda x: ops.where(ops.isinf(x), 0.0, x),
    "isfinite": lambda x: ops.where(ops.isfinite(x), x, 0.0),
    "median": lambda x: ops.median(ops.concatenate([x, 2 * x, 3 * x], 1), 1, keepdims=True),
    "log_softmax": lambda x: ops.log_softmax(ops.concatenate([x, 2 * x], 1))[:, :1],
    "an integer": lambda x: ops.where(ops.argmax(x, 1, keepdims=True) == 0, x, 2 * x),
}  # fmt: skip


def around(function):
    layer = keras.layers.Lambda(function, output_shape=(1,), name="planted")
    return keras.Sequential([keras.Input((1,)), layer])


@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value)")
@pytest.mark.parametrize("name", TOLD)
def test_single_points_are_told(name):
    with pytest.warns(UserWarning, match="Selected at single points: .* in 'planted'"):
        made = kd.Gradient(around(TOLD[name]))
    assert "Selected at single points" in made.explain()
    assert np.isfinite(numpy(made(np.array([[0.5]])))).all()


@pytest.mark.filterwarnings("ignore:.*Constant piece by piece")
@pytest.mark.parametrize("name", NOT_TOLD)
def test_what_selects_at_no_single_point(name):
    assert "single points" not in kd.Gradient(around(NOT_TOLD[name])).explain()


@pytest.mark.skipif(BACKEND == "tensorflow", reason="its loops are looked at as they are")
def test_single_points_in_a_loop():
    turn = lambda i, z: ops.where(z == 0, 1.0, ops.sin(z) / z)  # noqa: E731
    with pytest.warns(UserWarning, match="Selected at single points"):
        kd.Gradient(around(lambda x: ops.fori_loop(0, 2, turn, x)))
