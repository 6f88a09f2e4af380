"""What layers tell of themselves, in words and in notebooks."""

import re

import keras
import numpy as np
import pytest
from keras import layers

import keras_derivs as kd


def network(*parts):
    return keras.Sequential([keras.Input((3,)), *parts], name="net<3>")


def test_a_layer_is_shown_with_its_strategy():
    layer = kd.Gradient(network(layers.Dense(1)), name="slope")
    assert repr(layer) == (
        "<Gradient 'slope' of 'net<3>', strategy 'reverse': 1 forward and 1 backward passes>"
    )
    late = kd.Gradient(keras.Sequential([layers.Dense(1)], name="later"))
    assert repr(late).startswith("<Gradient 'gradient") and "strategy" not in repr(late)
    assert late._repr_html_() == repr(late).replace("<", "&lt;").replace(">", "&gt;").replace(
        "'", "&#x27;"
    )
    late(np.ones((2, 3)))
    assert "strategy 'reverse'" in repr(late)


@pytest.mark.filterwarnings("ignore:.*Piecewise linear")
def test_an_explanation_is_a_text_and_a_table():
    layer = kd.Hessian(network(layers.Dense(4, "relu"), layers.Dense(1)))
    told = layer.explain()
    assert isinstance(told, str) and told.startswith("Hessian of 'net<3>': strategy")
    table = told._repr_html_()
    assert layer._repr_html_() == table and "<caption>Hessian of &#x27;net&lt;3&gt;" in table
    names = re.findall(r"<th[^>]*>(.*?)</th>", table)
    assert names[:4] == ["strategy", "passes", "alternatives", "notes"]
    cells = dict(zip(names, re.findall(r"<td[^>]*>(.*?)</td>", table)))
    chosen = layer.plan.choice.strategy
    assert chosen in cells["strategy"] and chosen not in cells["alternatives"]
    assert "relu" in cells["notes"].lower()


def test_what_is_given_up_has_a_row():
    layer = kd.Laplacian(network(layers.Dense(1)), num_samples=2, audit=False)
    assert "notes</th>" in layer._repr_html_() and "not audited" in layer._repr_html_()
    assert "An estimate from 2 random directions" in layer._repr_html_()


def test_a_derivative_between_tensors_is_shown_as_one():
    x = keras.Input((3,))
    y = layers.Dense(1, "tanh")(x)
    model = keras.Model(x, kd.laplacian(y, x, name="bend"))
    layer = model.get_layer("bend")
    assert re.match(
        r"<Between 'bend': Laplacian '.*' of 'sub_graph', strategy 'taylor'", repr(layer)
    )
    assert layer._repr_html_().startswith("<table><caption>Laplacian of")
