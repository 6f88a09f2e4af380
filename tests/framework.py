"""What tests ask of the framework that Keras runs on; `tf` is `None` unless that is TensorFlow."""

import importlib

import keras
import pytest

BACKEND = keras.backend.backend()
tf = importlib.import_module("tensorflow") if BACKEND == "tensorflow" else None
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="it is about TensorFlow")


def sine(x):
    """The framework's own, which is no operation of Keras."""
    return _module().sin(x)


def square(x):
    return _module().square(x)


def _module():
    return importlib.import_module({"jax": "jax.numpy"}.get(BACKEND, BACKEND))


def gradients(loss, variables):
    """The gradients of `loss()`, a number, by Keras variables; `None` where none arrives."""
    return GRADIENTS[BACKEND](loss, variables)


def compiled(function):
    """The function by each of the compilers: {mode: function}."""
    return {mode: compiler(function) for mode, compiler in COMPILERS[BACKEND].items()}


def _by_tensorflow(loss, variables):
    with tf.GradientTape() as tape:
        y = loss()
    return tape.gradient(y, [variable.value for variable in variables])


def _by_jax(loss, variables):
    import jax

    def function(values):
        with keras.StatelessScope(list(zip(variables, values))):
            return loss()

    return jax.grad(function)([variable.value for variable in variables])


def _by_torch(loss, variables):
    import torch

    return torch.autograd.grad(
        loss(), [variable.value for variable in variables], allow_unused=True
    )


def _by_graph(function):
    return tf.function(function, autograph=False)  # as Keras calls layers


def _by_xla(function):
    return tf.function(function, jit_compile=True, autograph=False)


def _by_jit(function):
    import jax

    return jax.jit(function)


GRADIENTS = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}
COMPILERS = {
    "tensorflow": {"graph": _by_graph, "XLA": _by_xla},
    "jax": {"jit": _by_jit},
    "torch": {},
}
