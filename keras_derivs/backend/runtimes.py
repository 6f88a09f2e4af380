"""What runs the files of TensorFlow and PyTorch; imported where it is used, on any backend."""

import importlib

import keras


def saved_model(path):
    """A function from arrays to arrays: the endpoint "serve" of a SavedModel."""
    tf = importlib.import_module("tensorflow")
    loaded = tf.saved_model.load(str(path))

    (arguments, _) = loaded.serve.concrete_functions[0].structured_input_signature

    def run(arrays, names=()):
        tensors = [tf.constant(x) for x in arrays]
        found = loaded.serve(*keras.tree.pack_sequence_as(arguments, tensors))
        return [x.numpy() for x in keras.tree.flatten(found)]

    return run


def litert_options(model):
    """Allow the built-in operations of LiteRT only: no other needs TensorFlow on the device."""
    if keras.backend.backend() != "tensorflow":
        return {}
    tf = importlib.import_module("tensorflow")
    return {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}


def torch_options(model):
    """Leave the axes open that the model does; Keras would fix them."""
    return importlib.import_module("keras_derivs.backend.torch.exporting").options(model)


def lite_interpreter():
    """TensorFlow's own interpreter of LiteRT files."""
    return importlib.import_module("tensorflow").lite.Interpreter


def torch_program(path):
    """A function from arrays to arrays: a program of `torch.export`."""
    torch = importlib.import_module("torch")
    program = torch.export.load(str(path)).module()

    def run(arrays, names=()):
        with torch.no_grad():
            found = program(*(torch.from_numpy(x) for x in arrays))
        return [x.detach().cpu().numpy() for x in keras.tree.flatten(found)]

    return run
