"""What Keras has to know, and what it may not do, when a derivative is saved or loaded."""

import functools

import keras

from keras_derivs.graph import private
from keras_derivs.graph.private import get_global_attribute, legacy_h5_format


def serialize(model):
    """The config of a wrapped model, in which shared layers are marked as such.

    Keras marks an object when it meets it again, too late for a config that was copied into
    that of its wrapper by then. So let it meet everything twice.
    """
    config = keras.saving.serialize_keras_object(model)
    if get_global_attribute("shared_objects/id_to_config_map") is not None:
        config = keras.saving.serialize_keras_object(model)
    return config


def in_sharing_scope():
    """Whether Keras restores shared layers as one, as it does while it loads a saved model."""
    return get_global_attribute("shared_objects/id_to_obj_map") is not None


def refuse_legacy_file(model, filepath):
    """Raise for a model with derivatives: an HDF5 file does not say which layers are shared."""
    layers = private.layers_of(model) if isinstance(model, keras.layers.Layer) else ()
    ours = [layer.name for layer in layers if getattr(layer, "needs_keras_file", False)]
    if ours:
        raise ValueError(
            f"A model with derivatives needs a `.keras` file. Received: the legacy HDF5 file "
            f"{str(filepath)!r} for '{model.name}' with the derivative '{ours[0]}': loaded from "
            f"it, model and derivative would be two networks. Nothing was written. Use "
            f"`model.save('….keras')`; `save_weights('….weights.h5')` works, too."
        )


def _refusing(save):
    """Keras's function that saves to HDF5, which empties the file before it asks any layer."""

    @functools.wraps(save)
    def save_model_to_hdf5(model, filepath, *args, **kwargs):
        refuse_legacy_file(model, filepath)
        return save(model, filepath, *args, **kwargs)

    save_model_to_hdf5.of_keras = save
    return save_model_to_hdf5


_save = legacy_h5_format.save_model_to_hdf5
_save = getattr(_save, "of_keras", _save)  # only once, also when this module is imported anew
legacy_h5_format.save_model_to_hdf5 = _refusing(_save)
