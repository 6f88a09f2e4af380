"""What PyTorch loses of a derivative without a word is told when the layer is made."""

import importlib
import threading

import keras
import numpy as np
import pytest
from framework import BACKEND

import keras_derivs as kd

torch = pytest.importorskip("torch") if BACKEND == "torch" else None
pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="it is about PyTorch")
X = np.array([[0.3, 0.7], [0.2, -0.4]], "float32")


class Planted(keras.layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return (x * self.function(x)).sum(1, keepdim=True)


class Alone(Planted):
    def call(self, x):
        return self.function(x).sum(1, keepdim=True)


def without_gradients(x):
    with torch.no_grad():
        return torch.sin(x)


STOPPED = {
    "no_grad": (without_gradients, "no_grad"),
    "data": (lambda x: torch.sin(x.data), "detach"),
    "detached to numpy": (lambda x: torch.from_numpy(np.sin(x.detach().numpy())), "detach"),
    "detach in place": (lambda x: torch.sin(x.clone().detach_()), "detach"),
}


@pytest.mark.parametrize("name", STOPPED)
def test_stopped_gradients_are_named(name):
    function, word = STOPPED[name]
    with pytest.warns(UserWarning, match=f"Gradients are stopped at '{word}'"):
        kd.Gradient(Planted(function))(X)


def test_what_is_read_as_numpy_is_refused():
    def read(x):
        return torch.as_tensor(float(x.sum().item()))

    with pytest.raises(ValueError, match="PyTorch can differentiate.*'item'"):
        kd.Gradient(Planted(read), coupled=True)(X)


def sine(slope):
    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            y = torch.sin(x)
            return y * torch.ones_like(y)

        @staticmethod
        def backward(ctx, gradient):
            return gradient * slope(ctx.saved_tensors[0])

    return Sine.apply


def test_gradients_that_cannot_be_differentiated_are_refused():
    for slope in (
        lambda x: torch.cos(x).detach(),
        lambda x: torch.from_numpy(np.cos(x.detach().numpy())),
    ):
        with pytest.raises(ValueError, match="the gradient of 'Sine'"):
            kd.HessianDiagonal(Alone(sine(slope)))(X)


def test_gradients_that_can_be_differentiated_are_right():
    found = kd.HessianDiagonal(Planted(sine(torch.cos)))(X)
    np.testing.assert_allclose(found.detach(), 2 * np.cos(X) - X * np.sin(X), rtol=1e-5)


def test_no_gradient_is_kept_where_none_is_recorded():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "tanh")])
    for layer in (kd.Gradient(model, strategy="reverse"), kd.Gradient(model, return_value=True)):
        assert keras.tree.flatten(layer(X))[-1].requires_grad
        with torch.no_grad():
            assert not any(one.requires_grad for one in keras.tree.flatten(layer(X)))


def test_what_another_thread_draws_is_not_drawn_here():
    torch_random = importlib.import_module("keras_derivs.backend.torch.random")
    with torch_random.held():
        other = threading.Thread(target=torch.rand, args=(3,))
        other.start()
        other.join()
        torch.nn.functional.dropout(torch.ones(3), 0.0)
        assert not torch_random.drawn()
        torch.nn.functional.dropout(torch.ones(3), 0.5)
        assert torch_random.drawn()
        torch_random.again()
        assert not torch_random.drawn()
    assert not torch_random.drawn()


@pytest.mark.parametrize("strategy", ["auto", "reverse", "taylor"])
def test_a_tensor_that_is_changed_after_it_was_needed_is_told(strategy):
    x = keras.Input((2,))
    model = keras.Model(x, Alone(lambda x: torch.exp(x).add_(1))(x))
    with pytest.raises(ValueError, match=r"(?s)Received: .*(was changed after that|alone)"):
        kd.Gradient(model, strategy=strategy)(X)


@pytest.mark.parametrize("function", ["tril", "triu"])
def test_a_triangle_of_the_batch_is_told(function):
    """Its rows do not depend on others, but on their number."""
    x = keras.Input((2,))
    model = keras.Model(x, Alone(lambda x: getattr(torch, function)(x) * x)(x))
    with pytest.warns(UserWarning, match=f"'{function}' in 'alone'.*along the batch axis"):
        kd.Gradient(model)(X)
    kd.Gradient(keras.Model(x, Alone(lambda x: torch.tril(x[:, :, None] * x[:, None]).sum(2))(x)))
