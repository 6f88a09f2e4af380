"""What the published tables share: networks, training with a line of progress, errors."""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

SEED = 0
COMPILED = keras.backend.backend() != "torch"  # which cannot compile second derivatives


class Progress(keras.callbacks.Callback):
    """A line at every tenth of the training."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        done, epochs = epoch + 1, self.params["epochs"]
        if done * 10 // epochs > epoch * 10 // epochs:
            seconds = time.perf_counter() - self.start
            loss = f"loss {logs['loss']:.1e}  {seconds:4.0f} s"
            print(f"{self.name:40}{done / epochs:5.0%}  {loss}", flush=True)


def relative_error(found, true):
    """|found - true| / |true|."""
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


def network(width, depth):
    """Dense layers with tanh, in float64."""
    hidden = [keras.layers.Dense(width, "tanh", dtype="float64") for _ in range(depth)]
    return keras.Sequential([*hidden, keras.layers.Dense(1, dtype="float64")])


def on_all_data(name, train, model, x, steps):
    """Train the outputs towards zero at the points x, by `kd.lbfgs` or `kd.gauss_newton`.

    Returns the steps and seconds it took.
    """
    start = time.perf_counter()
    model.compile(loss="mse", jit_compile=COMPILED)
    zeros, progress = np.zeros((len(x), model.output_shape[1])), Progress(name)
    history = train(model, x, zeros, max_steps=steps, callbacks=[progress], verbose=0)
    return {"steps": len(history.epoch), "seconds": time.perf_counter() - start}


class Batches(keras.utils.PyDataset):
    """A new batch at every step."""

    def __init__(self, batch, steps):
        super().__init__()
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        return self.batch()


def by_adam(name, model, batch, steps, rate=1e-3):
    """Train on the mean square by Adam on what `batch()` returns."""
    start = time.perf_counter()
    model.compile(keras.optimizers.Adam(rate), loss="mse", jit_compile=COMPILED)
    model.fit(Batches(batch, steps // 10), epochs=10, callbacks=[Progress(name)], verbose=0)
    return {"steps": steps, "seconds": time.perf_counter() - start}
