"""TensorFlow: derivatives by nested `tf.GradientTape`."""

import contextlib
import re

import numpy as np
import tensorflow as tf

from keras_derivs.backend.defaults import (  # noqa: F401
    at_once,
    double,
    precise,
    selected,  # which the gradients of `outer` do
    sum_of_directions,
)
from keras_derivs.backend.tensorflow import exact, unselected
from keras_derivs.backend.tensorflow.exporting import for_format  # noqa: F401
from keras_derivs.backend.tensorflow.held import drawn, held  # noqa: F401
from keras_derivs.backend.tensorflow.memory import peak_memory  # noqa: F401
from keras_derivs.backend.tensorflow.modes import (  # noqa: F401
    MODES,
    compiled,
    compiling,
    tracing,
    weights_scope,
)
from keras_derivs.backend.tensorflow.node_types import VALUES, VECTORS  # noqa: F401
from keras_derivs.backend.tensorflow.outer import result  # noqa: F401
from keras_derivs.backend.tensorflow.rows import jacobians_of_rows  # noqa: F401
from keras_derivs.backend.tensorflow.slopes import slope_of_tanh  # noqa: F401
from keras_derivs.backend.tensorflow.traced import (  # noqa: F401
    AT_POINTS,
    AT_ZERO,
    ESTIMATED,
    FLAT,
    KINKED,
    LOST,
    STOPPED,
    traced,
)
from keras_derivs.backend.tensorflow.vectorised import at_each  # noqa: F401
from keras_derivs.backend.tensorflow.xla import loops, not_compiled, refuse_gradient  # noqa: F401

FRAMEWORK = "TensorFlow"
NO_GRADIENT = (LookupError, NotImplementedError)  # what TensorFlow raises
FAILURES = (
    tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.UnknownError,
)  # fmt: skip


def vjp(function, xs, num_pulls=1):
    """Run `function(xs)`, and return what it returns and its vector-Jacobian products.

    See `keras_derivs.backend.vjp`.
    """
    xs = [_tensor(x) for x in xs]
    with tf.GradientTape(num_pulls > 1, watch_accessed_variables=False) as tape:
        tape.watch(xs)
        outputs, beside = function(xs)

    def pull(n, cotangent=None):
        with precise(), _failures_named():
            gradients = tape.gradient(outputs[n], xs, output_gradients=cotangent)
        return [None if g is None else _tensor(g) for g in gradients]

    return outputs, beside, pull


@contextlib.contextmanager
def _failures_named():
    """An operation that fails in a gradient becomes an error of `NO_GRADIENT`.

    A matrix that has no inverse is told of where the derivative is asked for.
    """
    try:
        yield
    except FAILURES as error:
        operation = re.search(r"\[Op:(\w+)\]", str(error))
        if operation is None or "invert" in str(error):
            raise
        reason = error.message.split("}} ")[-1].split(" [Op")[0].splitlines()[0].rstrip(". ")
        raise NotImplementedError(f"{reason}: {operation[1]}") from error


def _tensor(x):
    return x if isinstance(x, tf.Tensor) else tf.convert_to_tensor(x)


@contextlib.contextmanager
def scope(model):
    """Exact derivatives, no trace left; an operation that is missing in float64 is named."""
    try:
        with exact.scope():
            yield
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        if "double" in str(error).lower():
            raise _without_kernel(model, error) from error
        raise


class WithoutKernel(ValueError):
    """An operation does not exist in the precision that is asked for."""


MISSING = (WithoutKernel,)


def _without_kernel(model, error):
    layer = re.search(r"when calling (\w+)\.call", str(error))
    operation = re.search(r"\{\{node (\w+)", str(error))
    names = [f"'{found[1]}'" for found in (operation, layer) if found]
    return WithoutKernel(
        f"A derivative in float64 needs operations that TensorFlow has in float64. Received: "
        f"'{model.name}' with {' of a layer '.join(names) or 'one that it has not'}. Give that "
        f'layer `dtype="float32"`, or compute all in float32.'
    )


def evaluate(function, inputs, model):
    """See `keras_derivs.backend`."""
    with scope(model):
        return function(inputs)


def selecting(cotangent):
    """A cotangent that is zero where nothing of the output is selected; see `unselected`."""
    return unselected.mark(cotangent, lambda: tf.equal(cotangent, 0))


def constant(number):
    """Kernels have their constants in single precision, in float64 too."""
    return float(np.float32(number))


def after(tensors):
    """What is computed in this context waits for `tensors`."""
    return tf.control_dependencies(tensors) if tensors else contextlib.nullcontext()
