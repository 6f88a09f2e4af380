"""PyTorch: derivatives by `torch.autograd.grad`, whose graph is kept."""

import contextlib
import re

import torch

from keras_derivs.backend import resident
from keras_derivs.backend.defaults import *  # noqa: F403
from keras_derivs.backend.defaults import precise
from keras_derivs.backend.formulas import install
from keras_derivs.backend.stateless import stateless
from keras_derivs.backend.switch import Switch
from keras_derivs.backend.torch import exporting, marked  # noqa: F401
from keras_derivs.backend.torch.calls import (  # noqa: F401
    AT_POINTS,
    FLAT,
    KINKED,
    LOST,
    STOPPED,
    calls,
)
from keras_derivs.backend.torch.exact import exact
from keras_derivs.backend.torch.formulas import FORMULAS, Exchanging
from keras_derivs.backend.torch.random import again, drawn, held  # noqa: F401
from keras_derivs.backend.torch.rows import jacobians_of_rows  # noqa: F401
from keras_derivs.backend.wide import wide

FRAMEWORK = "PyTorch"
MODES = ()
WITHOUT = re.compile(r"derivative for aten::_?(\w+?)(_backward)? is not implemented")
CHANGED = "has been modified by an inplace operation"
WITHIN = "PyTorch has no gradient where a tensor that it needs was changed after that"
_plainly = Switch()
install()


def peak_memory(call):
    """See `keras_derivs.backend`."""
    if not torch.cuda.is_available():
        return resident.peak_memory(call)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return torch.cuda.max_memory_allocated() - before


def vjp(function, xs, num_pulls=1):
    """See `keras_derivs.backend.vjp`."""
    with torch.enable_grad():
        xs = [_followed(x) for x in xs]
        outputs, beside = function(xs)

    def pull(n, cotangent=None):
        ys = outputs[n] if isinstance(outputs[n], list) else [outputs[n]]
        weights = cotangent if isinstance(cotangent, list) else [cotangent] * len(ys)
        weights = [torch.ones_like(y) if w is None else _weight(w, y) for y, w in zip(ys, weights)]
        pairs = [(y, w) for y, w in zip(ys, weights) if y.requires_grad]
        if not pairs:
            return [None] * len(xs)
        ys, weights = zip(*pairs)
        again = lambda: torch.autograd.grad(  # noqa: E731
            ys, xs, weights, create_graph=True, allow_unused=True
        )
        with torch.enable_grad(), _named_operations():
            selects = marked.is_marked(cotangent)
            found = marked.without_others(again, *ys, *weights, xs) if selects else again()
        return [_stored(g) for g in found]

    return outputs, beside, pull


@contextlib.contextmanager
def _named_operations():
    """What PyTorch says of an operation without a gradient, as an error of `NO_GRADIENT`."""
    try:
        yield
    except RuntimeError as error:
        if CHANGED in str(error):
            raise NotImplementedError(f"{WITHIN}: in place") from error
        found = WITHOUT.fullmatch(str(error))
        if found is None:
            raise
        raise NotImplementedError(f"{error}: {found[1]}") from error


def _followed(x):
    """`x` under a name of its own: only what is computed from this one counts."""
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()


def _weight(cotangent, y):
    """A cotangent, which may be an array, as a tensor in the dtype of `y`."""
    return torch.as_tensor(cotangent, dtype=y.dtype, device=y.device)


def _stored(gradient):
    """A gradient; PyTorch has zeros that hold no numbers, and that numpy cannot read."""
    zero = gradient is not None and gradient._is_zerotensor()
    return torch.zeros_like(gradient) if zero else gradient


@contextlib.contextmanager
def scope(model):
    """Exact derivatives, and no update of any variable, seed or loss."""
    with stateless(), wide() if _plainly.on else precise(), Exchanging(FORMULAS):
        yield


def evaluate(function, inputs, model):
    """See `keras_derivs.backend`."""
    again()
    if _plainly.on:
        with scope(model):
            return function(inputs)
    return exact(function, inputs, lambda: scope(model))


def selected(function, inputs):
    """See `keras_derivs.backend`."""
    return function(inputs) if _plainly.on else exact(function, inputs, contextlib.nullcontext)


def selecting(cotangent):
    """See `keras_derivs.backend`; `vjp` looks for the mark."""
    return marked.mark(cotangent)


def result(x):
    """See `keras_derivs.backend`; under `torch.no_grad()` without a gradient, as of any layer."""
    return x if torch.is_grad_enabled() else x.detach()


def traced(run, inputs, wrt):
    """See `keras_derivs.backend`."""
    with _plainly():  # the operations as they stand in the model
        return calls(run, inputs, wrt)


def compiled(function, mode=None):
    """PyTorch runs functions as they are; `torch.compile` cannot differentiate twice."""
    return function


def compiling():
    return torch.compiler.is_compiling()
