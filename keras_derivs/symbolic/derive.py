"""Put a derivative layer between two symbolic tensors of a Keras graph."""

import keras

from keras_derivs.layers import arguments
from keras_derivs.layers.one_entry import LABELS
from keras_derivs.symbolic.between import Between, check_symbolic, snake_case


def product(layer, y, x, v, **options):
    """With symbolic vectors, or with constant ones."""
    if any(map(keras.backend.is_keras_tensor, keras.tree.flatten(v))):
        return derive(layer, y, x, v, **options)
    vectors = arguments.vectors_config(arguments.check_vectors(v))
    return derive(layer, y, x, vectors=vectors, **options)


def derive(layer, y, x, v=(), name=None, **options):
    """Put a derivative layer between `y` and `x` into their graph."""
    wrt = list(x) if isinstance(x, (list, tuple)) else [x]
    if not wrt:
        raise ValueError(
            f"`{snake_case(layer)}` needs at least one tensor x. Received: an empty list. Give the "
            f"tensor to differentiate with respect to."
        )
    vectors = list(v) if isinstance(v, (list, tuple)) else [v]
    labels = [options["component"]] if hasattr(options.get("component"), "dtype") else []
    options = {**options, "component": LABELS} if labels else options
    function = snake_case(layer)
    for tensor in (y, *wrt, *vectors, *labels):
        check_symbolic(tensor, function)
    between = Between(
        layer.__name__,
        options,
        len(wrt),
        len(vectors),
        listed=isinstance(x, (list, tuple)),
        name=name or f"{function}_{keras.backend.get_uid(function)}",
    )
    return between([y, *wrt, *between.cut(y, wrt), *vectors, *labels])
