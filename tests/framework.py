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


def unverified(x):
    """An operation of the framework that no row of the table of operations has."""
    return UNVERIFIED[BACKEND](x)


def _module():
    return importlib.import_module({"jax": "jax.numpy"}.get(BACKEND, BACKEND))


def gradients(loss, variables):
    """The gradients of `loss()`, a number, by Keras variables; `None` where none arrives."""
    return GRADIENTS[BACKEND](loss, variables)


def compiled(function, variables=()):
    """The function by each of the compilers: {mode: function}; it may assign to the variables."""
    return {mode: compiler(function, variables) for mode, compiler in COMPILERS[BACKEND].items()}


def with_gradient(value, gradient):
    """The function `value(x)`, whose gradient is `gradient(x, g)` for `g`, right or wrong."""
    return CUSTOM[BACKEND](value, gradient)


def by_numpy(function):
    """A function of arrays, computed outside of the framework."""
    return OUTSIDE[BACKEND](function)


def _custom_of_tensorflow(value, gradient):
    @tf.custom_gradient
    def function(x):
        return value(x), lambda g: gradient(x, g)

    return function


def _custom_of_jax(value, gradient):
    import jax

    function = jax.custom_vjp(value)
    function.defvjp(lambda x: (value(x), x), lambda x, g: (gradient(x, g),))
    return function


def _custom_of_torch(value, gradient):
    import torch

    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return value(x)

        @staticmethod
        def backward(ctx, g):
            return gradient(*ctx.saved_tensors, g)

    return Custom.apply


def _outside_of_tensorflow(function):
    return lambda x: tf.ensure_shape(tf.numpy_function(function, [x], x.dtype), x.shape)


def _outside_of_jax(function):
    import jax

    return lambda x: jax.pure_callback(function, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def _outside_of_torch(function):
    return lambda x: keras.ops.convert_to_tensor(function(x.detach().numpy()), x.dtype)


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

    y, values = loss(), [variable.value for variable in variables]
    if not y.requires_grad:
        return [None] * len(values)
    return torch.autograd.grad(y, values, allow_unused=True)


def _by_graph(function, variables=()):
    return tf.function(function, autograph=False)  # as Keras calls layers


def _by_xla(function, variables=()):
    return tf.function(function, jit_compile=True, autograph=False)


def _by_jit(function, variables=()):
    """Programs of JAX take and return the values of variables, as Keras trains there."""
    import jax

    @jax.jit
    def program(values, *args):
        scope = keras.StatelessScope(zip(variables, values), collect_losses=True)
        with scope:
            results = function(*args)
        return results, [scope.get_current_value(variable) for variable in variables]

    def call(*args):
        results, values = program([variable.value for variable in variables], *args)
        for variable, value in zip(variables, values):
            variable.assign(value)
        return results

    return call


UNVERIFIED = {
    "tensorflow": lambda x: tf.linalg.diag_part(tf.linalg.sqrtm(tf.linalg.diag(x * x))),
    "jax": lambda x: importlib.import_module("jax").lax.lgamma(x * x + 1),
    "torch": lambda x: _module().lgamma(x * x + 1),
}
GRADIENTS = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}
CUSTOM = {
    "tensorflow": _custom_of_tensorflow,
    "jax": _custom_of_jax,
    "torch": _custom_of_torch,
}
OUTSIDE = {
    "tensorflow": _outside_of_tensorflow,
    "jax": _outside_of_jax,
    "torch": _outside_of_torch,
}
COMPILERS = {
    "tensorflow": {"graph": _by_graph, "XLA": _by_xla},
    "jax": {"jit": _by_jit},
    "torch": {},
}
