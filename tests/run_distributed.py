"""Train the same model on one device and on two: `run_distributed.py WAY`, prints JSON.

WAY is one of "mirrored" (TensorFlow, two logical processors), "data" and "model" (JAX, two forced
host devices), and "worker" and "alone" (the example of several workers).
"""

import json
import sys

import keras
import numpy as np
from keras import distribution, layers

import keras_derivs as kd

WAY = sys.argv[1]
ON_JAX = keras.backend.backend() == "jax"
BATCH = 32


def physics_informed():
    """Burgers' residual beside the value, a norm and a penalty."""
    normed = [layers.Dense(8, "tanh"), layers.LayerNormalization(), layers.Dense(1)]
    net = keras.Sequential([keras.Input((2,)), *normed])
    tx = keras.Input((2,), name="tx")
    t, x = tx[:, 0:1], tx[:, 1:2]
    u = net(tx)
    u_t, u_x, u_xx = kd.partials(u, (t,), (x,), (x, x))
    residual = u_t + u * u_x - 0.01 * u_xx
    return keras.Model(tx, {"u": u, "residual": residual, "slope": kd.gradient_penalty(u, tx)})


def wide():
    """A Laplacian through a wide layer, by both engines."""
    x = keras.Input((4,), name="x")
    u = layers.Dense(1)(layers.Dense(64, "tanh", name="wide")(x))
    outputs = {f"by_{s}": kd.laplacian(u, x, strategy=s) for s in ("taylor", "tape")}
    return keras.Model(x, {"u": u, **outputs})


def plain():
    """The same network without derivatives."""
    stack = [layers.Dense(8, "tanh"), layers.LayerNormalization(), layers.Dense(1)]
    x = keras.Input((2,), name="tx")
    return keras.Model(x, {"u": keras.Sequential(stack)(x)})


def trained(make, rows=3 * BATCH):
    """Losses, weights and predictions after two epochs."""
    keras.utils.set_random_seed(1)
    model = make()
    model.compile(loss="mse", optimizer=keras.optimizers.Adam(1e-3), jit_compile=ON_JAX)
    x = np.random.default_rng(0).normal(size=(rows, *model.inputs[0].shape[1:])).astype("float32")
    targets = {name: np.cos(x[:, :1]) for name in model.output}
    fitted = model.fit(x, targets, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
    found = model.predict(x, batch_size=BATCH, verbose=0)
    losses = {name: np.array(values) for name, values in fitted.history.items()}
    return losses, dict(enumerate(model.get_weights())), found


def apart(one, two):
    """The largest difference, relative to the largest entry of each array."""
    pairs = [(part[name], other[name]) for part, other in zip(one, two) for name in part]
    return max(float(np.max(np.abs(a - b)) / np.max(np.abs(a))) for a, b in pairs)


def mirrored():
    """Apart with even batches, with one row more, and with one row more without derivatives."""
    import tensorflow as tf

    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    def compared(make, rows=3 * BATCH):
        one = trained(make, rows)
        with strategy.scope():
            return one, trained(make, rows)

    uneven, without = (compared(make, 3 * BATCH + 1) for make in (physics_informed, plain))
    return {
        "even": apart(*compared(physics_informed)),
        "uneven": {key: apart(one[:1], two[:1]) for key, (one, two) in
                   {"derivatives": uneven, "plain": without}.items()},
    }  # fmt: skip


def sharded(make, distributed):
    one = trained(make)
    with distributed.scope():
        two = trained(make)
    return {"even": apart(one, two)}


def data():
    return sharded(physics_informed, distribution.DataParallel(devices=distribution.list_devices()))


def model():
    mesh = distribution.DeviceMesh((1, 2), ("batch", "model"), distribution.list_devices())
    layout = distribution.LayoutMap(mesh)
    layout["wide/kernel"], layout["wide/bias"] = (None, "model"), ("model",)
    return sharded(wide, distribution.ModelParallel(layout_map=layout, batch_dim_name="batch"))


def workers():
    """Losses and weights of the example, as one worker of several or alone."""
    import multi_worker
    import tensorflow as tf

    several = WAY == "worker"
    strategy = (
        tf.distribute.MultiWorkerMirroredStrategy() if several else tf.distribute.get_strategy()
    )
    losses, weights = multi_worker.train(strategy, 3)
    return {
        "losses": losses,
        "weights": [w.ravel().tolist() for w in weights],
        "communicated": communicated(multi_worker, strategy) if several else None,
    }


def communicated(example, strategy):
    """The sizes of what one step of the example reduces over its workers."""
    with strategy.scope():
        model, optimizer = example.burgers(), keras.optimizers.Adam(1e-3)
        optimizer.build(model.trainable_weights)
    points = next(iter(strategy.distribute_datasets_from_function(example.dataset)))
    graph = example.step_of(strategy, model, optimizer).get_concrete_function(points).graph
    nodes = [node for node in graph.get_operations() if node.type.startswith("CollectiveReduce")]
    return [int(np.prod(node.inputs[0].shape)) for node in nodes]


WAYS = {"mirrored": mirrored, "data": data, "model": model, "worker": workers, "alone": workers}

if __name__ == "__main__":
    print(json.dumps(WAYS[WAY]()))
