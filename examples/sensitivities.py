"""The Jacobian of a model at every row of Parquet files that do not fit into memory, by Ray Data.

    pip install "keras_derivs[ray]"
    python examples/sensitivities.py model.keras rows/ sensitivities/ 4

The columns of the files are the inputs of the model, in their order. The files that are written
hold the same rows with a column more: "jacobian", of shape (outputs, inputs). Blocks of rows stream
through processes that hold the model; where such a process dies, Ray starts another one, which does
its blocks again. The last argument is the number of processes: fewer than Ray has processors, as
files are read and written beside.
"""

import sys
from typing import Any

import numpy as np
import ray  # pyright: ignore[reportMissingImports]

ROWS = 1024  # of one call of the model


class Sensitivities:
    """A process that holds the model: a batch of columns -> the same with its Jacobian."""

    def __init__(self, path, columns):
        import keras

        import keras_derivs as kd

        self.columns = columns
        model: Any = keras.saving.load_model(path)
        inputs = keras.Input(model.inputs[0].shape[1:])
        self.jacobian = keras.Model(inputs, kd.Jacobian(model)(inputs))

    def __call__(self, batch):
        rows = np.stack([batch[name] for name in self.columns], axis=1).astype("float32")
        return {**batch, "jacobian": self.jacobian.predict_on_batch(rows)}


def write(model, source, target, processes=1, worker=Sensitivities):
    """Read the Parquet files of a folder, and write them with Jacobians to another."""
    rows = ray.data.read_parquet(source)
    found = rows.map_batches(
        worker,
        fn_constructor_args=(str(model), rows.columns()),
        batch_size=ROWS,
        compute=ray.data.ActorPoolStrategy(size=processes),
    )
    found.write_parquet(target)


if __name__ == "__main__":
    write(*sys.argv[1:4], processes=int(sys.argv[4]))
