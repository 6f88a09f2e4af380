"""The formats that Keras exports to: how a path ends, what is needed, and what runs the file."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import keras

from keras_derivs.backend import runtimes as of_frameworks
from keras_derivs.export import arguments, runtimes
from keras_derivs.graph import private


@dataclass(frozen=True)
class Format:
    """A format: `packages` holds tuples of which one must be installed."""

    name: str
    title: str
    suffix: str
    loaded: Callable  # a path -> a function from flat inputs to flat outputs
    packages: dict  # backend -> tuples of alternatives
    options: Callable = lambda model: {}  # more arguments for `model.export`
    arranged: Callable = lambda model: model  # the model as the converter takes it

    def check_packages(self):
        needed = self.packages.get(keras.backend.backend())
        if needed is None:
            raise ValueError(
                f"`format='{self.name}'` needs Keras on one of {tuple(self.packages)}. Received: "
                f"'{keras.backend.backend()}'. Choose one of "
                f"{[f.name for f in FORMATS if keras.backend.backend() in f.packages]}."
            )
        missing = [one for one in needed if not any(map(_installed, one))]
        if missing:
            names = ", ".join(" or ".join(f"`{name}`" for name in one) for one in missing)
            raise ImportError(
                f"`export` to {self.title} needs {names}. Received: a Python without. Install "
                f"`keras_derivs[{EXTRA[keras.backend.backend()]}]`, or `pip install "
                f'"{missing[0][0]}"`.'
            )


def _installed(package):
    try:
        return importlib.util.find_spec(package.replace("-", "_")) is not None
    except ModuleNotFoundError:
        return False


def _signature(model):
    """Without it, Keras wants a model that was called, and not only in `predict`."""
    return {"input_signature": private.signature_of(model)}


def _with_names(model):
    """The model with a dict of outputs; of another, OpenVINO takes every loose end for one."""
    if not getattr(model, "inputs", None) or isinstance(model.output, dict):
        return model
    width = len(str(len(model.outputs) - 1))
    outputs = {f"output_{n:0{width}d}": y for n, y in enumerate(model.outputs)}
    return keras.Model(arguments.structure(model), outputs, name=model.name)


EXTRA = {"tensorflow": "export", "jax": "export-jax", "torch": "export-torch"}
ONNX = (("onnxruntime",), ("onnx",))
OPENVINO = (("openvino",),)
TENSORFLOW = (("tensorflow",),)
LITERT = (("ai-edge-litert", "tensorflow"),)
FORMATS = [
    Format(
        "tf_saved_model",
        "SavedModel",
        "",
        of_frameworks.saved_model,
        {"tensorflow": (), "jax": TENSORFLOW},
    ),
    Format(
        "onnx",
        "ONNX",
        ".onnx",
        runtimes.onnx,
        {
            "tensorflow": (("tf2onnx",), *ONNX),
            "jax": (("jax2onnx",), *ONNX),
            "torch": (("onnxscript",), *ONNX),
        },
        _signature,
    ),
    Format(
        "litert",
        "LiteRT",
        ".tflite",
        runtimes.litert,
        {"tensorflow": LITERT, "torch": (("litert-torch",), *LITERT)},
        of_frameworks.litert_options,
    ),
    Format(
        "openvino",
        "OpenVINO",
        ".xml",
        runtimes.openvino,
        {"tensorflow": OPENVINO, "jax": (("jax2onnx",), *OPENVINO), "torch": OPENVINO},
        arranged=_with_names,
    ),
    Format(
        "torch",
        "a program of PyTorch",
        ".pt2",
        of_frameworks.torch_program,
        {"torch": ()},
        of_frameworks.torch_options,
    ),
]


def chosen(name, path):
    """The format of that name, or, for `None`, the one whose files end as the path does."""
    names = [format.name for format in FORMATS]
    if name is None:
        fitting = [format for format in FORMATS if format.suffix and path.suffix == format.suffix]
        return fitting[0] if fitting else FORMATS[0]
    if name not in names:
        raise ValueError(
            f"`format=` needs one of {names}. Received: {name!r}. Leave it out to choose by the "
            f"end of the path."
        )
    (format,) = [format for format in FORMATS if format.name == name]
    if format.suffix in (".tflite", ".xml", ".pt2") and path.suffix != format.suffix:
        raise ValueError(
            f"`path=` needs to end in '{format.suffix}' for {format.title}. Received: "
            f"'{path.name}'. Give '{path.stem}{format.suffix}'."
        )
    return format
