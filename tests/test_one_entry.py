"""Derivatives of the entry of an output that data choose, or that is the largest."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from truth import EXACT, close

import keras_derivs as kd

RANDOM = np.random.default_rng(0)
X, V = RANDOM.normal(size=(2, 6, 3)).astype("float32")
LABELS = np.array([0, 3, 1, 1, 2, 0], "int32")
LAYERS = {
    kd.Gradient: (kd.gradient, ("reverse", "forward", "taylor")),
    kd.Hessian: (kd.hessian, ("reverse", "taylor")),
    kd.HessianDiagonal: (kd.hessian_diagonal, ("reverse", "taylor")),
    kd.HVP: (kd.hvp, ("reverse",)),
}
CASES = [(layer, strategy) for layer, (_, found) in LAYERS.items() for strategy in found]


def net(num_inputs=3):
    return keras.Sequential(
        [keras.Input((num_inputs,)), layers.Dense(8, "tanh"), layers.Dense(4, "softmax")]
    )


def row_by_row(layer, model, labels, *given, **options):
    """Row b of the derivative of the entry that its label counts."""
    given = list(given) if len(given) > 1 else given[0]
    found = [ops.convert_to_numpy(layer(model, component=n, **options)(given)) for n in range(4)]
    return np.stack([found[label][row] for row, label in enumerate(labels)])


@pytest.mark.parametrize("layer, strategy", CASES)
def test_every_row_has_the_entry_of_its_label(layer, strategy):
    model, more = net(), [V] if layer is kd.HVP else []
    expected = row_by_row(layer, model, LABELS, X, *more)
    chosen = layer(model, component="labels", strategy=strategy)
    for labels in (LABELS, LABELS[:, None].astype("int64")):
        close(chosen([X, *more, labels]), expected, EXACT["float32"])
    largest = layer(model, component="argmax", strategy=strategy, return_value=True)
    value, found = largest([X, *more] if more else X)
    close(value, model(X), EXACT["float32"])
    expected = row_by_row(layer, model, np.argmax(ops.convert_to_numpy(value), axis=1), X, *more)
    close(found, expected, EXACT["float32"])


@pytest.mark.parametrize(
    "layer", [kd.HVP, *(pytest.param(x, marks=pytest.mark.slow) for x in LAYERS)]
)
def test_labels_are_inputs_of_a_graph_which_trains_after_loading(layer, tmp_path):
    model, more = net(), [V] if layer is kd.HVP else []
    x, v = keras.Input((3,)), keras.Input((3,))
    label = keras.Input((1,), dtype="int32")
    symbols, given = [x, *([v] if more else []), label], [X, *more, LABELS[:, None]]
    y = LAYERS[layer][0](model(x), *symbols[:-1], component=label)
    graph = keras.Model(symbols, [y, layer(model, component="labels")(symbols)])
    graph.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.compile("sgd", loss="mse")
    for _ in range(2):
        found = loaded.predict(given, verbose=0)
        inner = next(x for x in loaded.layers if isinstance(x, keras.Sequential))
        expected = row_by_row(layer, inner, LABELS, X, *more)
        for one in found:
            close(one, expected, EXACT["float32"])
        loaded.fit(given, [np.ones_like(one) for one in found], verbose=0)


def test_many_entries_are_put_into_the_batch_axis():
    x = RANDOM.normal(size=(6, 20)).astype("float32")
    model = net(20)
    expected = row_by_row(kd.Hessian, model, LABELS, x)
    for chunk_size in (None, 7):
        hessian = kd.Hessian(model, component="labels", strategy="reverse", chunk_size=chunk_size)
        close(hessian([x, LABELS]), expected, EXACT["float32"])


def test_a_label_out_of_range_is_an_error_or_not_a_number():
    model = net()
    gradient = kd.Gradient(model, component="labels")
    wrong = np.array([0, 4, 1, -1, 2, 0], "int32")
    with pytest.raises(ValueError, match=r"labels from 0 to 3.*Received: \[4, -1\]"):
        gradient([X, wrong])
    if keras.backend.backend() == "torch":  # where numbers are always known
        return
    x, label = keras.Input((3,)), keras.Input((), dtype="int32")
    graph = keras.Model([x, label], gradient([x, label]))
    found = graph.predict([X, wrong], verbose=0)
    assert np.isnan(found[[1, 3]]).all()
    right = [0, 2, 4, 5]
    close(found[right], row_by_row(kd.Gradient, model, LABELS, X)[right], EXACT["float32"])


def test_class_activation_maps_of_given_and_of_predicted_classes():
    """Selvaraju et al., "Grad-CAM" (2017): weights are means of the gradient over places."""
    image, label = keras.Input((8, 8, 1)), keras.Input((), dtype="int32")
    features = layers.Conv2D(4, 3, activation="tanh", name="features")(image)
    scores = layers.Dense(4)(layers.Flatten()(features))
    slopes = kd.gradient(scores, features, component=label)
    maps = ops.sum(ops.mean(slopes, axis=(1, 2), keepdims=True) * features, axis=-1)
    saliency = ops.max(ops.abs(kd.gradient(scores, image, component="argmax")), axis=-1)
    model = keras.Model([image, label], [maps, saliency, scores, features])
    images = RANDOM.normal(size=(6, 8, 8, 1)).astype("float32")
    maps, saliency, scores, features = model.predict([images, LABELS], verbose=0)
    kernel = ops.convert_to_numpy(
        next(x for x in model.layers if isinstance(x, layers.Dense)).kernel
    )
    slopes = kernel.T[LABELS].reshape(features.shape)  # the scores are linear in the features
    expected = (slopes.mean(axis=(1, 2), keepdims=True) * features).sum(axis=-1)
    close(maps, expected, EXACT["float32"])
    function = keras.Model(image, model.outputs[2])
    step = 1e-2 * RANDOM.normal(size=images.shape).astype("float32")
    full = kd.Gradient(function, component="argmax")(images)
    close(saliency, np.max(np.abs(ops.convert_to_numpy(full)), axis=-1), EXACT["float32"])
    moved = [
        np.max(ops.convert_to_numpy(function(images + sign * step)), axis=1) for sign in (1, -1)
    ]
    along = np.sum(ops.convert_to_numpy(full) * step, axis=(1, 2, 3))
    assert np.allclose((moved[0] - moved[1]) / 2, along, atol=1e-3 * np.abs(along).max())


@pytest.mark.slow
def test_verify_and_fuse_know_of_labels():
    model = net()
    report = kd.verify(kd.Hessian(model, component="labels"), [X, LABELS])
    assert report.ok, report
    assert kd.verify(kd.HVP(model, component="argmax"), [X, V]).ok
    x, label = keras.Input((3,)), keras.Input((), dtype="int32")
    y = model(x)
    terms = [kd.gradient(y, x, component=label), kd.hessian(y, x, component="argmax"),
             kd.jacobian(y, x), kd.hessian(y, x)]  # fmt: skip
    graph = keras.Model([x, label], terms)
    pairs = zip(graph([X, LABELS]), kd.fuse(graph)([X, LABELS]))
    for one, other in pairs:
        close(one, other, EXACT["float32"])
