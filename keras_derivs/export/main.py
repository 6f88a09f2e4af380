"""Export a model, run the file, and keep it only if it computes what the model does."""

import contextlib
import io

from keras_derivs import backend
from keras_derivs.engine.preference import preferring
from keras_derivs.export import arguments, place
from keras_derivs.export.compare import cases, compare, comparing
from keras_derivs.export.formats import chosen
from keras_derivs.typing import Any, Layer, Path

TOLERANCE = 1e-5
OTHER = {"taylor": "tape", "tape": "taylor"}
KNOWN = {  # what converters say, in other words
    "xf64>": "it computes in float64, which LiteRT has not. Give `dtype='float32'` to arrays of "
    "numpy that it computes with.",
    "Reverse scan is not supported": "the converter of JAX has no gradient of the loop of a "
    "recurrent layer. Make the layer with `unroll=True`.",
    "'select_and_scatter_add'": "the converter of JAX has no gradient of `MaxPooling`. Take "
    "`AveragePooling` instead.",
    "LogMatrixDeterminant": "no other format has determinants. Take `format='tf_saved_model'`.",
    "ShuffleChannelsFusion": "a fusion of OpenVINO fails on such a derivative by backward passes. "
    "Take `strategy='taylor'`.",
}


def export(
    model: Layer,
    path: Path,
    format: str | None = None,
    samples: Any = None,
    *,
    tolerance: float = TOLERANCE,
    **kwargs: Any,
) -> float:
    """Export a model with derivatives, and compare the file with the model.

    Calls `model.export`, runs the file by the runtime of its format, which knows nothing of Keras
    and of this package, and compares the outputs with `model.predict`. Where `strategy="auto"`
    chose what the format cannot hold, the other engine is tried. The file appears at `path` when
    all is well; otherwise an error says why, and what stood there before stays. `model.export` of
    a model with derivatives compares it, too, on numbers that it draws.

    Args:
        model: A `keras.Model` that has been built, or a derivative layer of such a model.
        path: Where the file goes; for a SavedModel, the folder. ".tflite" and ".xml" are needed by
            LiteRT and OpenVINO, which writes a ".bin" beside.
        format: One of `"tf_saved_model"`, `"onnx"`, `"litert"`, `"openvino"` and `"torch"`, as far
            as Keras offers it on the backend. By default as the path ends: ".onnx", ".tflite",
            ".xml" or ".pt2", and a SavedModel otherwise.
        samples: Inputs to compare on, as `predict` takes them. Needed where the model has integer
            inputs or axes of unknown length; by default random numbers.
        tolerance: The largest difference that is allowed, relative to the largest entry of an
            output.
        **kwargs: For `model.export`, such as `input_signature=` or `opset_version=`.

    Returns:
        The largest relative difference that was found.

    Raises:
        ValueError: If the model cannot be converted, the runtime refuses the file, or an output
            differs; no file is left.
        ImportError: If the converter or the runtime is not installed.

    Example:

    ```python
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "tanh")])
    x = keras.Input((2,))
    model = keras.Model(x, {"u": net(x), "slope": kd.Gradient(net)(x)})
    kd.export(model, "slope.onnx", samples=np.random.rand(16, 2))
    ```
    """
    model = arguments.check_model(model)
    path = arguments.check_path(path)
    format = chosen(format, path)
    arguments.check_free(path, format)
    samples = arguments.check_samples(samples, model)
    tolerance = arguments.check_tolerance(tolerance)
    format.check_packages()
    known = cases(model, samples)
    with place.beside(path) as temporary:
        return exported(model, temporary, format, known, tolerance, kwargs)


def exported(model, path, format, known, tolerance, kwargs):
    """The largest difference of the file; where "auto" took an engine in vain, by the other."""
    reasons, taken = [], set()
    for engine in (None, *OTHER):
        if engine is not None and OTHER[engine] not in taken:
            continue
        place.clear(path)
        with preferring(engine) as preference:
            try:
                return _trial(model, path, format, known, tolerance, kwargs)
            except Exception as error:
                reasons.append(error)
        taken |= preference.taken
    raise _refused(model, format, reasons) from reasons[0]


def _trial(model, path, format, known, tolerance, kwargs):
    with backend.for_format(format.name), comparing(), _quiet():
        options = {**format.options(model), **kwargs}
        arranged = format.arranged(model)
        arranged.export(str(path), format=format.name, **{"verbose": False, **options})
    return compare(model, format.loaded(path), known, tolerance)


@contextlib.contextmanager
def _quiet():
    """What converters print is told in the error."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _refused(model, format, reasons):
    words = dict.fromkeys(map(_words, reasons))
    return ValueError(
        f"`export` needs a model that {format.title} can hold and compute. Received: "
        f"'{model.name}', of which no file is left: {' Otherwise: '.join(words)} Try another "
        f"`format=`, another `strategy=` of the derivative, or `tolerance=` of "
        f"`keras_derivs.export` if the numbers are as near as you need."
    )


def _words(error):
    """What a converter says, or, where that is known, what to do instead."""
    words = " ".join(str(error).split())
    return next((known for said, known in KNOWN.items() if said in words), words[:600])
