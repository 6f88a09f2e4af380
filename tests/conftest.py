import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("JAX_ENABLE_X64", "1")  # tests ask for float64

import keras
import pytest
from precision import precision

from keras_derivs import backend

BACKEND = keras.backend.backend()


collect_ignore = [] if BACKEND == "tensorflow" else ["tensorflow_only"]


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(1)
    yield
    keras.backend.clear_session(free_memory=False)


@pytest.fixture
def float64():
    """Models made in the test compute in float64: Keras casts what enters a model to its dtype."""
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def all_float64():
    """As `float64`, and so do inputs and numbers that are made without a dtype."""
    with precision("float64"):
        yield


@pytest.fixture
def double():
    """Plain calls keep float64, as derivatives do; Keras narrows it on JAX and PyTorch."""
    with backend.double():
        yield
