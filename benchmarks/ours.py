"""The Taylor engine by the layers of the package, on whatever framework Keras runs on."""

import keras

import keras_derivs as kd


def network(weights, features):
    widths = [kernel.shape[1] for kernel in weights[::2]]
    hidden = [keras.layers.Dense(width, "tanh") for width in widths[:-1]]
    net = keras.Sequential([keras.Input((features,)), *hidden, keras.layers.Dense(widths[-1])])
    net.set_weights(weights)
    return net


def taylor(net, work):
    """A function of x: the derivatives of one work."""
    if work.kind == "laplacian":
        return kd.Laplacian(net, strategy="taylor", return_value=True)
    if work.kind == "burgers":
        return kd.Partials(net, [(), (0,), (1,), (1, 1)], strategy="taylor")
    if work.kind == "line":
        line = [(0,) * order for order in range(work.order + 1)]
        return kd.Partials(net, line, strategy="taylor")
    biharmonic = {(0,) * 4: 1, (0, 0, 1, 1): 2, (1,) * 4: 1}
    return kd.Partials(net, [(), biharmonic], strategy="taylor")
