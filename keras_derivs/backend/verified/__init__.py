"""The operations whose derivatives the tests compare, and up to which order, by framework.

Written by `make operations`; docs/operations.md has the comparisons.
"""

import json
from importlib import resources

import keras

TABLE = resources.files(__name__) / f"{keras.backend.backend()}.json"
VERIFIED = json.loads(TABLE.read_text("utf-8"))
