"""Tables in files: csv, parquet, npy and npz, read and written some thousand rows at a time."""

from keras_derivs.tables.columns import chosen
from keras_derivs.tables.problem import Problem
from keras_derivs.tables.reading import opened
from keras_derivs.tables.writing import results

__all__ = ["Problem", "chosen", "opened", "results"]
