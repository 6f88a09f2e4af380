"""What holds for every derivative of every graph, on graphs drawn at random.

A failure prints the smallest recipe of a graph that shows it (see `grammar`).
"""

import tempfile

import keras
import numpy as np
import pytest
from framework import gradients
from grammar import (
    OPERATIONS,
    STENCIL,
    Graph,
    Recipe,
    Step,
    choose_wrt,
    difference,
    matrix,
    numbers,
    parts,
    recipes,
)
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from keras import ops
from models import points
from truth import DIFFERENCES, EXACT, close, numpy

import keras_derivs as kd
from keras_derivs.engine.choose import STRATEGIES

pytestmark = pytest.mark.usefixtures("all_float64", "double")

TIGHT = EXACT["float64"]
PROFILE = settings(
    derandomize=True,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
PROPERTIES = {}


def property_of(**strategies):
    """Registers a property with what it holds for."""

    def register(check):
        PROPERTIES[check.__name__] = check, given(**strategies)
        return check

    return register


def rows(block, *shape):
    """The output axis, which derivatives of a scalar leave out, put back."""
    return np.reshape(block, (len(block), -1, *shape))


engines = st.sampled_from(["auto", "tape"])


@property_of(recipe=recipes(), number=numbers, part=parts, strategy=engines)
def matrices_match_differences_wherever_the_cut_runs(recipe, number, part, strategy):
    graph = Graph(recipe)
    wrt = choose_wrt(graph, number, part)
    size = len(wrt.columns)
    twins = (kd.jacobian, kd.hessian)
    found = graph.evaluate([twin(graph.y, wrt.tensor, strategy=strategy) for twin in twins])
    close(found[0], matrix(graph, wrt), DIFFERENCES[1])
    close(rows(found[1], size, size), matrix(graph, wrt, 2), DIFFERENCES[2])


terms = st.lists(st.lists(numbers, max_size=3), min_size=1, max_size=3)


@property_of(recipe=recipes(), terms=terms, strategy=engines)
def partials_match_differences_and_the_layer(recipe, terms, strategy):
    graph = Graph(recipe)
    entries = entries_of(graph)
    terms = [tuple(number % len(entries) for number in term) for term in terms]
    column = {n: graph.inputs[k][:, i : i + 1] for n, (k, i) in enumerate(entries)}
    symbolic = [tuple(column[n] for n in term) for term in terms]
    found = graph.evaluate(kd.partials(graph.y, *symbolic, strategy=strategy))
    layer = kd.Partials(model_of(graph), terms)(values_of(graph))
    for term, one, other in zip(terms, found, layer):
        close(one, other, TIGHT)
        expected = difference(graph, [entries[n] for n in term])
        close(one, expected, DIFFERENCES[max(1, len(term))])


def inputs_of(graph):
    """The inputs that the output is computed from."""
    return [k for k in graph.ancestors() if k < len(graph.inputs)]


def entries_of(graph):
    return [(k, i) for k in inputs_of(graph) for i in range(graph.inputs[k].shape[1])]


def model_of(graph):
    return keras.Model([graph.inputs[k] for k in inputs_of(graph)], graph.y)


def values_of(graph):
    return [graph.values[k] for k in inputs_of(graph)]


TWINS = {
    "Jacobian": kd.jacobian,
    "Hessian": kd.hessian,
    "HessianDiagonal": kd.hessian_diagonal,
    "Laplacian": kd.laplacian,
}


@property_of(recipe=recipes(), name=st.sampled_from(list(TWINS)), part=parts)
def twins_equal_layers(recipe, name, part):
    graph = Graph(recipe)
    xs = [graph.inputs[k] for k in inputs_of(graph)]
    found = keras.tree.flatten(graph.evaluate(TWINS[name](graph.y, xs)))
    layer = keras.tree.flatten(getattr(kd, name)(model_of(graph))(values_of(graph)))
    for one, other in zip(found, layer, strict=True):
        close(one, other, TIGHT)


@property_of(recipe=recipes(), number=numbers, part=parts)
def hessians_are_symmetric_and_their_trace_is_the_laplacian(recipe, number, part):
    graph = Graph(recipe)
    y, wrt = graph.y, choose_wrt(graph, number, part)
    size = len(wrt.columns)
    hessian, diagonal, laplacian = graph.evaluate(
        [twin(y, wrt.tensor) for twin in (kd.hessian, kd.hessian_diagonal, kd.laplacian)]
    )
    hessian, diagonal = rows(hessian, size, size), rows(diagonal, size)
    close(hessian, np.swapaxes(hessian, -1, -2), TIGHT)
    close(diagonal, np.diagonal(hessian, axis1=-2, axis2=-1), TIGHT)
    close(laplacian, np.trace(hessian, axis1=-2, axis2=-1), TIGHT)


@property_of(recipe=recipes(), number=numbers, part=parts)
def products_are_dual(recipe, number, part):
    graph = Graph(recipe)
    y, x = graph.y, choose_wrt(graph, number, part).tensor
    v, w = keras.ops.cos(x + 1), keras.ops.sin(y + 2)
    jacobian, jv, wj, v, w = graph.evaluate(
        [kd.jacobian(y, x), kd.jvp(y, x, v), kd.vjp(y, x, w), v, w]
    )
    close(np.sum(w * jv, axis=1), np.sum(wj * v, axis=1), TIGHT)
    close(jv, np.einsum("bij,bj->bi", jacobian, v), TIGHT)


@property_of(recipe=recipes(), number=numbers, component=numbers)
def curvature_along_a_vector_is_a_product_with_the_hessian(recipe, number, component):
    graph = Graph(recipe)
    y, x = graph.y, choose_wrt(graph, number).tensor
    chosen, v = {"component": component % y.shape[1]}, keras.ops.cos(x + 1)
    hessian, hv, v = graph.evaluate([kd.hessian(y, x, **chosen), kd.hvp(y, x, v, **chosen), v])
    close(hv, np.einsum("bij,bj->bi", hessian, v), TIGHT)


@property_of(first=recipes(), second=recipes(max_steps=3), number=numbers, part=parts)
def the_chain_rule_holds_between_cuts(first, second, number, part):
    graph = Graph(first)
    h, x = graph.y, choose_wrt(graph, number, part).tensor
    y = Graph(Recipe((h.shape[1],), second.steps)).run([h])[-1]
    whole, outer, inner = graph.evaluate([kd.jacobian(y, x), kd.jacobian(y, h), kd.jacobian(h, x)])
    close(whole, np.einsum("bij,bjk->bik", outer, inner), TIGHT)


@property_of(recipe=recipes(), number=numbers, other=numbers, part=parts)
def derivatives_are_linear(recipe, number, other, part):
    graph = Graph(recipe)
    f, wrt = graph.y, choose_wrt(graph, number, part)
    x = wrt.tensor
    candidates = [n for n in range(len(graph.tensors)) if wrt.place in graph.ancestors(n)]
    g = graph.tensors[candidates[other % len(candidates)]]
    g = keras.ops.sum(keras.ops.sin(g), axis=1, keepdims=True)
    for twin in (kd.jacobian, kd.hessian):
        whole, of_f, of_g = graph.evaluate([twin(2 * f - 3 * g, x), twin(f, x), twin(g, x)])
        of_g = of_g if of_g.ndim == of_f.ndim else of_g[:, None]
        close(whole, 2 * of_f - 3 * of_g, TIGHT)


@property_of(recipe=recipes(), first=numbers, second=numbers)
def derivatives_nest(recipe, first, second):
    graph = Graph(recipe)
    entries = entries_of(graph)
    (k, i), (m, j) = entries[first % len(entries)], entries[second % len(entries)]
    a, b = graph.inputs[k][:, i : i + 1], graph.inputs[m][:, j : j + 1]
    once = kd.diff(graph.y, a)
    try:
        twice = kd.diff(once, b)
    except ValueError as error:
        assert "no gradient reaches" in str(error) or "no path" in str(error)
        return
    nested, direct = graph.evaluate([twice, kd.diff(graph.y, a, b)])
    close(nested, direct, TIGHT)


def everything(graph, x, **options):
    y = graph.y
    return [
        y,
        kd.jacobian(y, x, **options),
        kd.hessian(y, x, **options),
        kd.hessian_diagonal(y, x, **options),
        kd.laplacian(y, x, **options),
        kd.gradient(y, x, component=y.shape[1] - 1, **options),
    ]


@property_of(recipe=recipes(), number=numbers, part=parts, chunk_size=st.integers(1, 5))
def chunks_change_nothing(recipe, number, part, chunk_size):
    graph = Graph(recipe)
    x = choose_wrt(graph, number, part).tensor
    whole, chunked = everything(graph, x), everything(graph, x, chunk_size=chunk_size)
    for one, other in zip(graph.evaluate(whole), graph.evaluate(chunked)):
        close(one, other, TIGHT)


REQUESTS = {
    "jacobian": kd.jacobian,
    "hessian": kd.hessian,
    "hessian_diagonal": kd.hessian_diagonal,
    "laplacian": kd.laplacian,
    "jvp": lambda y, x, **options: kd.jvp(y, x, keras.ops.cos(x), **options),
    "partials": lambda y, x, **options: kd.diff(y, x[:, :1], x[:, -1:], x[:, :1], **options),
}


@property_of(recipe=recipes(), number=numbers, kind=st.sampled_from(list(REQUESTS)))
def strategies_agree(recipe, number, kind):
    graph = Graph(recipe)
    x = choose_wrt(graph, number).tensor
    expected = graph.evaluate(REQUESTS[kind](graph.y, x))
    for strategy in STRATEGIES[kind]:
        try:
            found = graph.evaluate(REQUESTS[kind](graph.y, x, strategy=strategy))
        except ValueError as error:
            assert strategy == "taylor" and "Taylor rule" in str(error)
            continue
        close(found, expected, TIGHT)


@property_of(recipe=recipes(), number=numbers, strategy=engines)
def a_loss_of_derivatives_has_the_right_slope_by_weights(recipe, number, strategy):
    graph = Graph(recipe)
    x = choose_wrt(graph, number).tensor
    twins = (kd.jacobian, kd.laplacian)
    model = keras.Model(graph.inputs, [twin(graph.y, x, strategy=strategy) for twin in twins])
    weights = model.trainable_variables
    assume(weights)

    def loss():
        return sum(ops.sum(ops.sin(result)) for result in model(graph.values))

    slopes = [0 if slope is None else numpy(slope) for slope in gradients(loss, weights)]
    start, step, expected = [numpy(w.value).copy() for w in weights], 0.002, 0.0
    along = [points(w.shape, "float64", n) for n, w in enumerate(weights)]
    for times, factor in STENCIL.items():
        for weight, old, direction in zip(weights, start, along):
            weight.assign(old + times * step * direction)
        expected += factor * float(numpy(loss())) / step
    found = sum(np.sum(slope * direction) for slope, direction in zip(slopes, along))
    close(found, expected, DIFFERENCES[1])


@property_of(recipe=recipes(), number=numbers, part=parts)
def a_row_of_the_result_depends_on_a_row_of_the_input(recipe, number, part):
    graph = Graph(recipe)
    outputs = everything(graph, choose_wrt(graph, number, part).tensor)
    model = keras.Model(graph.inputs, outputs)
    one = model([value[1:2] for value in graph.values])
    for row, batch in zip(one, model(graph.values)):
        close(row[0], batch[1], TIGHT)


@property_of(recipe=recipes(), number=numbers, part=parts)
def a_loaded_model_is_equal_to_the_bit(recipe, number, part):
    graph = Graph(recipe)
    x = choose_wrt(graph, number, part).tensor
    model = keras.Model(graph.inputs, everything(graph, x))
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        loaded = keras.models.load_model(f"{folder}/model.keras")
    for one, other in zip(model(graph.values), loaded(graph.values), strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))


@property_of(recipe=recipes(), number=numbers, part=parts)
def a_compiled_graph_computes_the_same(recipe, number, part):
    graph = Graph(recipe)
    x = choose_wrt(graph, number, part).tensor
    model = keras.Model(graph.inputs, everything(graph, x))
    for one, other in zip(model(graph.values), model.predict_on_batch(graph.values)):
        close(one, other, TIGHT)


def hold(name, max_examples):
    check, with_graphs = PROPERTIES[name]
    settings(PROFILE, max_examples=max_examples)(with_graphs(check))()


# each graph compiles for seconds on JAX, and trains long on any
FEW = 3 if keras.backend.backend() == "jax" else 8
FEWER = {"a_loss_of_derivatives_has_the_right_slope_by_weights": min(FEW, 5)}


@pytest.mark.parametrize("name", PROPERTIES)
def test_on_some_graphs(name):
    hold(name, max_examples=FEWER.get(name, FEW))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_on_many_graphs(name):
    hold(name, max_examples=100)


WRONG_BEFORE = {
    "a slice of all there is, used beside the whole": (
        matrices_match_differences_wherever_the_cut_runs,
        {
            "recipe": Recipe((1,), (Step("slice", (0, 0), 1), Step("multiply", (0, 1), 1))),
            "number": 1,
            "strategy": "auto",
        },
    ),
    "Keras declares an outer product in another dtype than it has": (
        matrices_match_differences_wherever_the_cut_runs,
        {
            "recipe": Recipe((1,), (Step("outer", (0, 0), 1), Step("tanh", (0, 0), 2))),
            "number": 1,
            "strategy": "auto",
        },
    ),
    "Keras marks a number times a tensor as sparse": (
        the_chain_rule_holds_between_cuts,
        {
            "first": Recipe((1,), (Step("sine", (0, 0), 2),)),
            "second": Recipe((1,), (Step("sine", (0, 0), 1),)),
        },
    ),
    "Keras rounds the scale of attention to float32": (
        products_are_dual,
        {"recipe": Recipe((2,), (Step("attention", (0, 0), 1),))},
    ),
}


@pytest.mark.parametrize("name", WRONG_BEFORE)
def test_what_was_wrong_before(name):
    check, example = WRONG_BEFORE[name]
    recipes = [part for part in example.values() if isinstance(part, Recipe)]
    unknown = {step.operation for recipe in recipes for step in recipe.steps} - set(OPERATIONS)
    if unknown:
        pytest.skip(f"not in float64 on this backend: {unknown}")
    check(**{"number": 0, "part": None, **example})
