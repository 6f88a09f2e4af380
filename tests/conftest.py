import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import pytest


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
