"""Networks in half precision: derivatives in float32, and losses that would overflow."""

import re

import keras
import numpy as np
import pytest
from keras import layers, ops
from truth import numpy

import keras_derivs as kd

X = np.linspace(-1, 1, 16)[:, None].astype("float32")
ROUNDING = {"mixed_float16": 2e-2, "mixed_bfloat16": 1e-1}  # of a second derivative
pytestmark = pytest.mark.filterwarnings("ignore:.*returns float32 derivatives:UserWarning")


def network():
    return keras.Sequential(
        [keras.Input((1,)), layers.Dense(8, "tanh"), layers.Dense(8, "tanh"), layers.Dense(1)]
    )


def curvature_model(policy, strategy="auto", scale=1.0):
    """Value and second derivative, made under a policy; the derivative may be made larger."""
    keras.config.set_dtype_policy(policy)
    try:
        x = keras.Input((1,), name="x", dtype="float32")
        u = network()(x)
        u_xx = layers.Rescaling(scale, dtype="float32")(kd.diff(u, x, x, strategy=strategy))
        return keras.Model(x, {"u": u, "u_xx": u_xx})
    finally:
        keras.config.set_dtype_policy("float32")


def fitted(model, scale=1.0, epochs=1):
    targets = {"u": np.sin(2 * X), "u_xx": -4 * scale * np.sin(2 * X)}
    return model.fit(X, targets, batch_size=len(X), epochs=epochs, verbose=0).history["loss"]


@pytest.mark.parametrize("strategy", ["auto", pytest.param("tape", marks=pytest.mark.slow)])
@pytest.mark.parametrize("policy", ROUNDING)
def test_a_network_in_half_precision_trains_with_derivatives_in_single(policy, strategy):
    model, single = curvature_model(policy, strategy), curvature_model("float32")
    single.set_weights(model.get_weights())
    found, expected = (numpy(m(X)["u_xx"]) for m in (model, single))
    assert found.dtype == "float32"
    off = np.max(np.abs(found - expected)) / np.max(np.abs(expected))
    assert 1e-6 < off < ROUNDING[policy]
    model.compile(loss="mse", optimizer=keras.optimizers.Adam(1e-2))
    losses = fitted(model, epochs=10)
    assert losses[-1] < 0.9 * losses[0]
    assert all(weight.dtype == "float32" for weight in model.trainable_weights)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_loss_of_curvatures_that_overflows_is_scaled(scaled):
    """Its gradients are beyond 65504, the largest number of float16."""
    model = curvature_model("mixed_float16", scale=1e4)
    model.compile(loss="mse", optimizer=keras.optimizers.Adam(1e-2), auto_scale_loss=scaled)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == scaled
    start = model.get_weights()
    losses = fitted(model, 1e4)
    moved = [np.max(np.abs(new - old)) for new, old in zip(model.get_weights(), start)]
    if not scaled:
        assert not np.all(np.isfinite(moved))
        return
    assert not any(moved)  # the step is left out, and the next is tried with a smaller scale
    first = float(ops.convert_to_numpy(model.optimizer.dynamic_scale))
    losses += fitted(model, 1e4, epochs=40)
    assert float(ops.convert_to_numpy(model.optimizer.dynamic_scale)) < first
    assert np.all(np.isfinite(losses)) and losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("policy", ROUNDING)
def test_polynomials_say_that_mixed_precision_is_why_they_stop(policy):
    net = keras.Sequential([keras.Input((2,)), layers.Dense(3, "tanh", dtype=policy, name="inner")])
    reason = f"'inner' (of type Dense), which computes in {policy[6:]} with weights of float32"
    with pytest.raises(ValueError, match=re.escape(reason)):
        kd.Jacobian(net, strategy="taylor")
    assert reason in kd.HessianDiagonal(net).explain()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_polynomials_go_through_weights_in_half_precision(dtype):
    def net(dtype):
        stack = layers.Dense(3, "tanh", dtype=dtype), layers.Dense(1, dtype=dtype)
        return keras.Sequential([keras.Input((2,), dtype="float32"), *stack])

    half, single = net(dtype), net("float32")
    single.set_weights([np.asarray(ops.convert_to_numpy(w), "float32") for w in half.weights])
    found, expected = (
        numpy(kd.Hessian(model, strategy="taylor")(np.ones((2, 2), "float32")))
        for model in (half, single)
    )
    assert found.dtype == "float32"
    off = np.max(np.abs(found - expected)) / np.max(np.abs(expected))
    assert off < ROUNDING[f"mixed_{dtype}"]
