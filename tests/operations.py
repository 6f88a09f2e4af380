"""Every operation of Keras: a row, or the reason why it has none."""

import importlib
import inspect

import keras
import operations_arrays
import operations_elementwise
import operations_functions
import operations_linear
import operations_nn

GROUPS = {
    "Functions of one number": operations_elementwise.ROWS,
    "Arrays": operations_arrays.ROWS,
    "Linear algebra and transforms": operations_linear.ROWS,
    "Networks and images": operations_nn.ROWS,
}
GROUPS["Branches, loops and maps"] = operations_functions.ROWS
if keras.backend.backend() == "tensorflow":
    GROUPS["TensorFlow's own"] = importlib.import_module("operations_tensorflow").ROWS
ROWS = {name: row for rows in GROUPS.values() for name, row in rows.items()}

BESIDE = {"istft": "stft", "view_as_real": "view_as_complex"}  # in the row of another one
LEFT_OUT = {
    "makes an array of none that varies": "arange array bartlett blackman empty empty_like eye full "
    "full_like hamming hanning identity kaiser ones tri zeros",
    "tells a shape or a type, or turns into numpy": "convert_to_numpy dtype is_tensor ndim shape size",
    "of integers or of truth values": "all allclose any argpartition bincount bitwise_and "
    "bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor "
    "count_nonzero ctc_decode gcd histogram in_top_k isin lcm left_shift logical_and logical_not "
    "logical_or logical_xor multi_hot nanargmax nanargmin nonzero right_shift unique unravel_index "
    "view",
    "no derivative: the next number in floating point": "nextafter",
    "stops derivatives on purpose": "stop_gradient",
    "no function of tensors": "deserialize get serialize",
    "a derivative itself; tests of operations that take functions have it": "jvp",
}


def names():
    """The operations of Keras: {name: function}."""
    places = {"": keras.ops, "image.": keras.ops.image, " ": keras.activations}
    return {
        prefix.strip() + name: function
        for prefix, place in places.items()
        for name, function in vars(place).items()
        if callable(function) and not name.startswith("_") and not inspect.isclass(function)
    }


def covered():
    """What has a row, by the beginning of its name, or is another name of it, or is left out."""
    known = {row.split(",")[0].split(" ")[0] for row in ROWS} | set(BESIDE)
    known |= {name for text in LEFT_OUT.values() for name in text.split()}
    every = names()
    same = {id(function) for name, function in every.items() if name in known}
    return {name for name, function in every.items() if name in known or id(function) in same}
