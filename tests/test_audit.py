"""The audit: what it finds, what it says it cannot check, and what it costs."""

import gc
import weakref

import keras
import numpy as np
import pytest
from framework import BACKEND, on_tensorflow, tf
from keras import layers, ops
from models import points
from truth import numpy

import keras_derivs as kd
from keras_derivs import backend
from keras_derivs.audit import examination


class Function(layers.Layer):
    """A function of a tensor that keeps its shape, also one that only runs eagerly."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function, self.calls = function, 0

    def call(self, x):
        self.calls += 1
        return self.function(x)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, dtype=x.dtype)


class Gate(layers.Layer):
    """A part that a weight switches off at the start."""

    def build(self, shape):
        self.weight = self.add_weight(shape=(), initializer="zeros")

    def call(self, x):
        return x + self.weight * ops.mean(x, axis=0)


def around(layer, batch_size=None):
    return keras.Sequential([keras.Input((3,), batch_size=batch_size), layers.Dense(3), layer])


def pairs(x):
    return ops.reshape(ops.flip(ops.reshape(x, (-1, 2, 3)), axis=1), (-1, 3))


def halves(x):
    return ops.reshape(ops.flip(ops.reshape(x, (2, -1, 3)), axis=0), (-1, 3))


def noise(x):
    return tf.random.normal(tf.shape(x))


COUPLED = {
    "mean": lambda x: x * ops.mean(x, axis=0, keepdims=True),
    "pairs": pairs,
    "halves": lambda x: x + halves(x),
    "sorting": lambda x: ops.sort(x, axis=0),
    "first row": lambda x: x - x[:1],
    "last row": lambda x: x - x[-1:],
    "cumulative": lambda x: ops.cumsum(x, axis=0),
    "logarithms": lambda x: ops.log(x) - ops.mean(ops.log(x), axis=0),
    "beyond one": lambda x: ops.arccosh(x) - ops.mean(ops.arccosh(x), axis=0),
    "with noise of Keras": lambda x: x * ops.mean(x, axis=0) + keras.random.normal(ops.shape(x)),
    "groups of fixed size": lambda x: ops.reshape(
        ops.cumsum(ops.reshape(x, (1, 16, 3)), 1), (16, 3)
    ),
}


FAR = {
    "eighth row": lambda x: x + ops.roll(x, 8, axis=0),
    "groups of 16": lambda x: ops.reshape(ops.flip(ops.reshape(x, (-1, 16, 3)), 1), (-1, 3)),
    "groups of 15": lambda x: ops.reshape(ops.flip(ops.reshape(x, (-1, 15, 3)), 1), (-1, 3)),
    "rows after the eighth": lambda x: x + ops.sum(x[8:], axis=0, keepdims=True),
}
COUPLED |= FAR
if tf:
    COUPLED |= {
        "with noise of TensorFlow": lambda x: x * ops.mean(x, axis=0) + noise(x),
        "shuffled by TensorFlow": lambda x: tf.random.shuffle(x),
    }


@pytest.mark.parametrize("name", [*COUPLED, *(f"roll {n}" for n in range(1, 8))])
def test_coupled_rows_are_found_and_named(name):
    function = COUPLED.get(name)
    if function is None:
        function = lambda x: x + ops.roll(x, int(name[-1]), axis=0)  # noqa: E731
    layer = Function(function, name="mixer")
    model = keras.Sequential([keras.Input((3,)), layer])
    with pytest.raises(ValueError, match="rows are independent.*'mixer'"):
        kd.Jacobian(model)


def numbers(x):
    return ops.arange(ops.shape(x)[0])


def far_apart(x):
    """One for each two rows that are 64 or more apart."""
    distance = numbers(x)[:, None] - numbers(x)
    return ops.cast(ops.abs(distance) >= 64, x.dtype)


BEYOND = {
    "Roll": lambda x: x + ops.roll(x, 64, axis=0),
    "StridedSlice": lambda x: x + ops.sum(x[100:], axis=0, keepdims=True),
    "GatherNd": lambda x: x + tf.gather_nd(x, ((numbers(x) + 64) % tf.shape(x)[0])[:, None]),
    "UnsortedSegmentSum": lambda x: (
        x + ops.take(ops.segment_sum(x, numbers(x) % 64, 64), numbers(x) % 64, axis=0)
    ),
    "MatMul": lambda x: x + ops.matmul(far_apart(x), x),
    "Mean": lambda x: tf.cond(
        tf.shape(x)[0] > 64, lambda: x - ops.mean(x, axis=0), lambda: ops.sin(x)
    ),
}


@on_tensorflow
@pytest.mark.parametrize("name", BEYOND)
def test_what_may_couple_larger_batches_is_told(name):
    layer = Function(BEYOND[name], name="mixer")
    with pytest.warns(UserWarning, match=f"{name}' in 'mixer'.*along the batch axis") as told:
        derivative = kd.Jacobian(keras.Sequential([keras.Input((3,)), layer]))
    assert len(told) == 1 and "along the batch axis" in derivative.explain()


SINGLE = {
    "mean": lambda x: x * ops.mean(x, axis=0, keepdims=True),
    "one row": lambda x: x - ops.sum(ops.reshape(x, (1, -1)), axis=-1, keepdims=True),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_model_of_one_row_that_is_called_on_more(name):
    layer = kd.Jacobian(around(Function(SINGLE[name], name="mixer"), 1))
    x = points((4, 3), "float32")
    assert layer(x[:1]).shape == (1, 3, 3)
    with pytest.raises(ValueError, match="rows are independent.*'mixer'"):
        layer(x)
    with pytest.warns(UserWarning, match="right for one row alone.*(independent|one row for each)"):
        layer(keras.Input((3,)))
    fine = kd.Jacobian(around(layers.Dense(3, "tanh"), 1))
    np.testing.assert_allclose(numpy(fine(x))[1:2], numpy(fine(x[1:2])), rtol=1e-5)


def test_a_part_that_is_switched_off_is_awake():
    model = around(Gate(name="gate"))
    with pytest.raises(ValueError, match="rows are independent.*'gate'"):
        kd.Jacobian(model)
    assert float(model.layers[-1].weight.numpy()) == 0


@pytest.mark.parametrize("batch_size", [2, 4, 5, 32])
def test_a_fixed_batch_is_tried(batch_size):
    norm = layers.BatchNormalization(name="norm")
    with pytest.raises(ValueError, match="rows are independent.*'norm'"):
        kd.Jacobian(around(norm, batch_size), training=True)
    x = points((batch_size, 3), "float32")
    assert kd.Jacobian(around(layers.Dense(2), batch_size))(x).shape == (batch_size, 2, 3)


class Hidden(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(3)
        self.second = keras.Sequential([layers.Dense(2), layers.BatchNormalization(name="deep")])

    def call(self, x, training=None):
        return self.second(self.first(x), training=training)


def symbolic(function):
    x = keras.Input((3,))
    return function(layers.Dense(3, name="dense")(x)), x


NAMED = {
    "operation": (lambda: kd.jacobian(*symbolic(lambda h: h - ops.mean(h, 0, keepdims=True))), "'mean"),
    "layer": (
        lambda: kd.jacobian(*symbolic(layers.BatchNormalization(name="norm")), training=True), "'norm'"
    ),
    "sub-model": (lambda: kd.jacobian(*symbolic(Hidden()), training=True), "'deep'"),
    "subclassed": (lambda: kd.Jacobian(Hidden(), training=True)(points((8, 3), "float32")), "'deep'"),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_what_couples_is_named_everywhere(name):
    make, culprit = NAMED[name]
    with pytest.raises(ValueError, match=f"rows are independent.*{culprit}"):
        make()


ROWS = {
    "mean": lambda x: ops.mean(x, axis=0, keepdims=True),
    "number": lambda x: ops.mean(x, keepdims=True),
    "twice": lambda x: ops.concatenate([x, x], axis=0),
    "steps as rows": lambda x: ops.reshape(x, (-1, 1)),
}


@pytest.mark.parametrize("make", [kd.Jacobian, kd.Laplacian, kd.VJP, kd.HessianDiagonal])
@pytest.mark.parametrize("name", ROWS)
def test_another_number_of_rows_is_an_error(name, make):
    with pytest.raises(ValueError, match="one row for each row of the input"):
        make(keras.Sequential([keras.Input((3,)), layers.Lambda(ROWS[name])]))
    x = keras.Input((3,))
    with pytest.raises(ValueError, match="one row for each row of the input"):
        kd.jacobian(ROWS[name](layers.Dense(3)(x)), x)


def test_another_number_of_rows_without_audit():
    model = keras.Sequential([keras.Input((3,)), layers.Lambda(ROWS["twice"])])
    for strategy in ("reverse", "taylor"):
        with pytest.raises(ValueError, match="one row for each row of the input"):
            kd.Jacobian(model, strategy=strategy, audit=False)(points((4, 3), "float32"))


def test_inputs_of_different_batches():
    a, b = keras.Input((2,)), keras.Input((2,))
    model = keras.Model([a, b], layers.Dense(1)(a + b))
    x = points((4, 2), "float32")
    for other in (x[:2], x[:1]):
        with pytest.raises(ValueError, match="same number of rows.*4, 2"):
            kd.Gradient(model)([x, other])


SEEDS = keras.random.SeedGenerator(1)
RANDOM = {
    "Keras": lambda x: x + keras.random.normal(ops.shape(x), seed=SEEDS),
    "drop": lambda x: keras.random.dropout(x, 0.5, seed=SEEDS),
    "choice": lambda x: x * ops.cast(keras.random.categorical(x, 3, seed=SEEDS), x.dtype),
}
if BACKEND != "jax":  # which Keras asks for a seed on
    RANDOM |= {
        "without a seed": lambda x: x + keras.random.normal(ops.shape(x)),
        "drop without a seed": lambda x: keras.random.dropout(x, 0.5),
    }
if tf:
    RANDOM |= {
        "TensorFlow": lambda x: x + noise(x),
        "drop of TensorFlow": lambda x: tf.nn.dropout(x, 0.5),
        "choice of TensorFlow": lambda x: x * tf.cast(tf.random.categorical(x, 3), x.dtype),
    }


@pytest.mark.filterwarnings("ignore:(?s).*'StatelessMultinomial'")  # piecewise constant: told
@pytest.mark.filterwarnings("ignore:(?s).*'argmax'")  # the same on JAX
@pytest.mark.filterwarnings("ignore:(?s).*in inference, too")
@pytest.mark.parametrize("name", RANDOM)
def test_random_rows_are_no_coupled_rows(name):
    layer = Function(RANDOM[name])
    assert kd.Jacobian(around(layer))(points((8, 3), "float32")).shape == (8, 3, 3)


@on_tensorflow
def test_random_rows_that_cannot_be_held_are_told():
    def function(x):
        return x + tf.raw_ops.RandomStandardNormal(shape=tf.shape(x), dtype=x.dtype)

    with pytest.warns(UserWarning, match="random in a way that cannot be held"):
        layer = kd.Jacobian(around(Function(function)))
    assert "cannot be held" in layer.explain()


LOST = {
    "numpy": lambda x: x + np.sin(x),
    "numbers": lambda x: x + x.numpy() ** 2,
}


TOLD = {
    "tensorflow": "computed outside of TensorFlow",
    "torch": "'numpy' in 'planted'.*would be missing",
}


@pytest.mark.skipif(BACKEND == "jax", reason="JAX itself refuses to compute it")
@pytest.mark.parametrize("name", LOST)
def test_what_eager_code_loses_is_found(name):
    with pytest.raises(ValueError, match=TOLD[BACKEND]):
        kd.Jacobian(keras.Sequential([keras.Input((3,)), Function(LOST[name], name="planted")]))


@on_tensorflow
def test_eager_code_that_loses_nothing_is_said_to_be_unknown():
    layer = Function(lambda x: ops.sin(x) if float(x.numpy().max()) < 1e9 else x)
    with pytest.warns(UserWarning, match="cannot be traced"):
        derivative = kd.Jacobian(keras.Sequential([keras.Input((3,)), layer]))
    assert "cannot be traced" in derivative.explain()


def refuses(x):
    raise RuntimeError("not today")


def test_what_cannot_run_is_told_once():
    with pytest.warns(UserWarning, match="not audited.*not today") as told:
        layer = kd.Jacobian(keras.Sequential([keras.Input((3,)), Function(refuses)]))
    assert len(told) == 1 and "not audited" in layer.explain()


@pytest.mark.slow
def test_nothing_large_is_run(monkeypatch):
    large = keras.Sequential(
        [keras.Input((3,)), layers.RepeatVector(10**8), layers.GlobalAveragePooling1D()]
    )
    inside = keras.Sequential(
        [keras.Input((3,)), Function(lambda x: ops.sum(ops.repeat(x[:, None], 10**8, axis=1), axis=1))]
    )  # fmt: skip
    ran = []
    monkeypatch.setattr(examination, "run", lambda *args: ran.append(args))
    for model in (large, inside):
        for make in (kd.Jacobian, kd.Laplacian) if model is large else (kd.Laplacian,):
            with pytest.warns(UserWarning, match="not audited.*GiB"):
                layer = make(model)
            assert "not audited" in layer.explain()
    assert not ran


def counted():
    layer = Function(ops.sin)
    model = keras.Sequential([keras.Input((3,)), layer])
    layer.calls = 0
    return model, layer


def test_a_model_runs_three_times_at_most():
    model, layer = counted()
    kd.Jacobian(model, strategy="reverse")
    assert layer.calls <= 3
    before = layer.calls
    for make in (kd.Hessian, kd.Laplacian, kd.VJP, kd.JVP):
        make(model, strategy="tape")
    assert layer.calls == before
    before = layer.calls
    model.layers[0].function = lambda x: x - ops.mean(x, axis=0)
    with pytest.raises(ValueError, match="rows are independent"):
        kd.Jacobian(model, strategy="reverse")
    assert layer.calls > before


class Rolled(layers.Layer):
    """Rolls along an axis, and counts its calls."""

    def __init__(self, axis, **kwargs):
        super().__init__(**kwargs)
        self.axis, self.calls = axis, 0

    def call(self, x):
        self.calls += 1
        return ops.roll(x, 1, axis=self.axis)


def test_an_option_that_changes_is_audited_again():
    layer = Rolled(axis=1, name="rolled")
    model = keras.Sequential([keras.Input((3,)), layer])
    kd.Jacobian(model)
    calls = layer.calls
    model(points((4, 3), "float32"))
    kd.VJP(model)
    assert layer.calls == calls + 1
    layer.axis = 0
    with pytest.raises(ValueError, match="rows are independent.*'rolled'"):
        kd.Jacobian(model)


def test_a_model_that_changes_is_planned_again():
    model, x = around(layers.Dense(3, "tanh")), points((4, 3), "float32")
    layer = kd.HessianDiagonal(model)
    assert np.any(numpy(layer(x)))
    model.layers[-1].activation = keras.activations.relu
    with pytest.warns(UserWarning, match="Piecewise linear"):
        assert not np.any(numpy(layer(x)))
    model.pop()
    model.add(layers.Dense(5, "tanh"))
    assert layer(x).shape == (4, 5, 3)
    model.add(Function(lambda x: x - ops.mean(x, axis=0), name="late"))
    with pytest.raises(ValueError, match="rows are independent.*'late'"):
        layer(x)


@pytest.mark.parametrize("frozen", ["layer", "weight"])
def test_a_frozen_part_that_is_switched_off_is_awake(frozen):
    gate = Gate(name="gate")
    model = around(gate)
    if frozen == "layer":
        gate.trainable = False
    else:
        gate.weight.trainable = False
    with pytest.raises(ValueError, match="rows are independent.*'gate'"):
        kd.Jacobian(model)


def test_derivatives_of_one_tensor_share_an_audit():
    layer, x = Function(ops.sin), keras.Input((3,))
    y = layers.Dense(1)(layer(x))
    layer.calls = 0
    for function in (kd.gradient, kd.jacobian, kd.hessian):
        function(y, x, strategy="tape")
    assert layer.calls <= 3


def test_findings_live_as_long_as_the_model():
    model, _ = counted()
    kd.Jacobian(model)
    alive = weakref.ref(model)
    del model, _
    keras.backend.clear_session()
    gc.collect()
    assert alive() is None


def test_a_layer_that_is_added_is_audited():
    model = around(layers.Dense(3))
    kd.Jacobian(model)
    model.add(Function(lambda x: x - ops.mean(x, axis=0), name="late"))
    with pytest.raises(ValueError, match="'late'"):
        kd.Jacobian(model)


@keras.saving.register_keras_serializable(package="test_audit")
class Counting(layers.Layer):
    runs = 0

    def call(self, x):
        if not keras.backend.is_keras_tensor(x) and not backend.tracing():
            Counting.runs += 1
        return ops.sin(x)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, dtype=x.dtype)


def test_nothing_runs_while_a_file_is_loaded(tmp_path):
    x = keras.Input((3,))
    u = layers.Dense(1)(Counting()(x))
    net = keras.Sequential([keras.Input((3,)), Counting(), layers.Dense(1)])
    model = keras.Model(x, [u, kd.gradient(u, x), kd.laplacian(u, x), kd.Gradient(net)(x)])
    model.save(tmp_path / "model.keras")
    Counting.runs = 0
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert Counting.runs == 0
    values = points((4, 3), "float32")
    for one, other in zip(model(values), loaded(values)):
        np.testing.assert_allclose(numpy(one), numpy(other), rtol=1e-5, atol=1e-6)
    assert "strategy" in loaded.layers[-1].explain()


def test_a_loaded_model_is_audited_when_it_is_used(tmp_path):
    norm = keras.Sequential(
        [keras.Input((3,)), layers.BatchNormalization(name="norm"), layers.Dense(1)]
    )
    x = keras.Input((3,))
    model = keras.Model(x, kd.Gradient(norm, training=True, audit=False)(x))
    model.layers[-1].audit = True
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="rows are independent.*'norm'"):
        loaded(points((4, 3), "float32"))


def test_without_audit_explain_says_what_is_given_up():
    model = around(Function(lambda x: x - ops.mean(x, axis=0)))
    layer = kd.Jacobian(model, audit=False)
    assert "not audited (`audit=False`)" in layer.explain()
    assert kd.Jacobian(around(layers.Dense(2)), audit=False).get_config()["audit"] is False
    with pytest.raises(TypeError, match="audit=.*True or False"):
        kd.Jacobian(model, audit="no")
    x = keras.Input((3,))
    y = kd.jacobian(model(x), x, audit=False)
    assert "audit=False" in y._keras_history.operation.explain()


@on_tensorflow
def test_an_audit_leaves_no_trace_in_the_numbers_that_are_drawn():
    tf.random.set_seed(3)
    plain = [tf.random.normal((2,)).numpy() for _ in range(2)]
    tf.random.set_seed(3)
    first = tf.random.normal((2,)).numpy()
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dropout(0.5), Function(RANDOM["TensorFlow"])]
    )
    kd.Jacobian(model)
    np.testing.assert_array_equal([first, tf.random.normal((2,)).numpy()], plain)


@pytest.mark.filterwarnings("ignore:(?s).*in inference, too")
def test_an_audit_leaves_no_trace():
    noise = Function(RANDOM["drop"])
    norm = layers.BatchNormalization()
    model = keras.Sequential([keras.Input((3,)), layers.Dropout(0.5, seed=1), norm, noise])
    before = [numpy(v.value).copy() for v in model.variables]
    kd.Gradient(
        keras.Model(model.inputs, ops.sum(model.outputs[0], 1, keepdims=True)),
        training=True,
        coupled=True,
    )
    for one, other in zip(before, model.variables):
        np.testing.assert_array_equal(one, numpy(other.value))


def test_a_constant_row_beside_the_batch():
    x, context = keras.Input((3,)), keras.Input((3,), batch_size=1)
    y = layers.Dense(20, "tanh")(x * ops.tanh(context))
    model = keras.Model([x, context], kd.jacobian(y, x))
    values, one = points((4, 3), "float32"), points((1, 3), "float32")
    plain = keras.Model([x, context], y)
    found = model([values, one])
    expected = [kd.Jacobian(plain, wrt=0)([values[n : n + 1], one]) for n in range(4)]
    expected = np.concatenate([numpy(part) for part in expected])
    np.testing.assert_allclose(numpy(found), expected, rtol=1e-5, atol=1e-6)
