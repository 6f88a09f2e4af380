"""Train a physics-informed model by several processes: `fit` of Keras 3 does not take them.

Start the program once for each worker, on one machine or on several, with its place in `TF_CONFIG`:

    export TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]},
                       "task": {"type": "worker", "index": 0}}'
    python examples/multi_worker.py 100

Every worker holds all weights and its own points. A step sums the gradients of the weights over
all workers, and nothing else: the derivatives of the model are computed where the points are.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import keras_derivs as kd

VISCOSITY = 0.01
POINTS = 64  # of one step, over all workers


def burgers():
    """A network u(t, x), and the residual of Burgers' equation."""
    keras.utils.set_random_seed(1)
    hidden = [keras.layers.Dense(16, "tanh") for _ in range(2)]
    net = keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(1)])
    tx = keras.Input((2,), name="tx")
    t, x = tx[:, 0:1], tx[:, 1:2]  # pyright: ignore[reportCallIssue, reportArgumentType]
    u = net(tx)
    u_t, u_x, u_xx = kd.partials(u, (t,), (x,), (x, x))
    return keras.Model(tx, {"u": u, "residual": u_t + u * u_x - VISCOSITY * u_xx})


def loss(model, tx):
    """The sum over the points of this worker, divided by the number of all points."""
    found = model(tx, training=True)
    start = tf.sin(np.pi * tx[:, 1:2])
    squares = tf.square(found["residual"]) + tf.square(found["u"] - start)
    return tf.reduce_sum(squares) / POINTS


def step_of(strategy, model, optimizer):
    """One step of all workers: points of this worker -> the loss over all points."""

    def of_one(tx):
        with tf.GradientTape() as tape:
            value = loss(model, tx)
        weights = [weight.value for weight in model.trainable_weights]
        optimizer.apply(tape.gradient(value, weights), model.trainable_weights)  # sums them
        return value

    @tf.function
    def step(tx):
        return strategy.reduce("sum", strategy.run(of_one, args=(tx,)), axis=None)

    return step


def points_of(context):
    """The batches of this worker: each its share of the points that all of them know."""
    random = np.random.default_rng(0)
    share = POINTS // context.num_input_pipelines
    first = context.input_pipeline_id * share
    while True:
        points = random.uniform(-1, 1, (POINTS, 2)).astype("float32")
        yield points[first : first + share]


def dataset(context):
    if POINTS % context.num_input_pipelines:
        raise ValueError(f"needs a number of workers that divides the {POINTS} points of a step")
    spec = tf.TensorSpec((POINTS // context.num_input_pipelines, 2))
    return tf.data.Dataset.from_generator(lambda: points_of(context), output_signature=spec)


def train(strategy, steps):
    """The losses of all steps, and the weights at the end."""
    with strategy.scope():
        model, optimizer = burgers(), keras.optimizers.Adam(1e-3)
        optimizer.build(model.trainable_weights)
    step = step_of(strategy, model, optimizer)
    batches = iter(strategy.distribute_datasets_from_function(dataset))
    losses = [float(step(next(batches))) for _ in range(steps)]
    return losses, model.get_weights()


if __name__ == "__main__":
    found, _ = train(tf.distribute.MultiWorkerMirroredStrategy(), int(sys.argv[1]))
    print(f"loss {found[0]:.4f} -> {found[-1]:.4f}")
