from keras import ops

from keras_derivs.layers.base import DerivativeLayer, register


class _OfField(DerivativeLayer):
    """Abstract: made of the Jacobian of a vector field, as many outputs as inputs."""

    kind = "jacobian"
    dimensions = ()

    def __init__(self, model, wrt=None, output=None, **kwargs):
        super().__init__(model, wrt, output, **kwargs)
        self.check()

    def shapes(self, rows, columns):
        num_inputs = sum(shape[0] if shape else 1 for shape in columns)
        flat = all(len(shape) < 2 for shape in columns)
        allowed = self.dimensions or (num_inputs,)
        if not flat or rows != (num_inputs,) or num_inputs not in allowed:
            sizes = " or ".join(str(size) for size in self.dimensions) or "d"
            raise ValueError(
                f"'{self.name}' needs a vector field: {sizes} outputs of as many inputs. Received: "
                f"an output of shape {(None, *rows)} and inputs of shape "
                f"{[(None, *shape) for shape in columns]}. Choose inputs with `wrt=`, or use "
                f"`Jacobian`."
            )
        return [self.result_shape(num_inputs)]

    def select(self, plan, results):
        return [self.combine(ops.concatenate(results, axis=2) if results[1:] else results[0])]

    def pack(self, results, structure):
        return results[0]


@register
class Divergence(_OfField):
    """The divergence of a vector field.

    sum_i dy_i/dx_i per sample, in units of [y]/[x].

    Args:
        model: A `keras.Model` or layer with as many outputs as inputs.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        **kwargs: As for `Gradient`.

    Input shape:
        That of the model.

    Output shape:
        `(batch, 1)`.

    Raises:
        ValueError: The model has not as many outputs as inputs.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> field = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(2.0)])
    >>> float(kd.Divergence(field)(np.ones((1, 3)))[0, 0])
    6.0
    """

    def result_shape(self, num_inputs):
        return (1,)

    def combine(self, jacobian):
        return ops.trace(jacobian, axis1=1, axis2=2)


@register
class Curl(_OfField):
    """The curl of a vector field in two or three dimensions.

    (dy_3/dx_2 - dy_2/dx_3, dy_1/dx_3 - dy_3/dx_1, dy_2/dx_1 - dy_1/dx_2) per sample, in two
    dimensions the last of these, in units of [y]/[x].

    Args:
        model: A `keras.Model` or layer with two outputs of two inputs, or three of three.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        **kwargs: As for `Gradient`.

    Input shape:
        That of the model.

    Output shape:
        `(batch, 3)`, in two dimensions `(batch, 1)`.

    Raises:
        ValueError: The model has not two or three outputs of as many inputs.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> turn = keras.layers.Lambda(lambda x: keras.ops.flip(x, axis=1) * np.array([-1.0, 1.0]))
    >>> float(kd.Curl(keras.Sequential([keras.Input((2,)), turn]))(np.ones((1, 2)))[0, 0])
    2.0
    """

    dimensions = (2, 3)

    def result_shape(self, num_inputs):
        return (1,) if num_inputs == 2 else (3,)

    def combine(self, jacobian):
        pairs = [(1, 0)] if jacobian.shape[2] == 2 else [(2, 1), (0, 2), (1, 0)]
        return ops.stack([jacobian[:, i, j] - jacobian[:, j, i] for i, j in pairs], axis=-1)
