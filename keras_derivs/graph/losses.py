"""The losses that layers add in their calls: whose they are, and which calls forget them."""

import contextlib

from keras_derivs.graph.private import (
    CallContext,
    get_global_attribute,
    get_stateless_scope,
    in_stateless_scope,
    layers_of,
    set_global_attribute,
)


@contextlib.contextmanager
def clearing_own_losses_only(layer):
    """Keep the losses that layers inside `layer` added elsewhere, such as in a call of their model.

    A layer that is called outside of a call clears the losses of all layers inside of it first:
    in a training step, and in JAX's trainer, which calls every layer of a graph by itself.
    """
    if get_global_attribute("current_call_ctx") is not None:
        yield
        return
    clear_own_losses(layer)
    set_global_attribute("current_call_ctx", CallContext(entry_layer=None))
    try:
        yield
    finally:
        set_global_attribute("current_call_ctx", None)


def clear_own_losses(layer):
    """Forget the penalties that a layer added itself."""
    layer._losses.clear()
    if in_stateless_scope():
        losses = get_stateless_scope().losses
        losses[:] = [loss for loss in losses if id(loss) not in layer._loss_ids]
    layer._loss_ids.clear()


class Lossless:
    """A layer whose call adds no losses to the layers inside of it, and keeps what they have.

    In a stateless call the losses are those of that call. Keras tells whose they are by their
    identities, of which only those of tensors that still exist count.
    """

    @property
    def losses(self):
        """Those that its last call added, and those of the weights."""
        return [*self._get_own_losses(), *self._get_regularization_losses()]

    def _clear_losses(self):
        if not in_stateless_scope():
            super()._clear_losses()
            return
        clear_own_losses(self)
        scope = get_stateless_scope()
        if scope.collect_losses:
            present = set(map(id, scope.losses))
            for layer in layers_of(self, include_self=False):
                layer._loss_ids &= present


@contextlib.contextmanager
def keeping_losses(model):
    """Give the layers of a model the losses again that they had, whatever calls come between."""
    kept = [(layer, list(layer._losses), set(layer._loss_ids)) for layer in layers_of(model)]
    try:
        yield
    finally:
        for layer, losses, ids in kept:
            layer._losses.clear()
            layer._losses.extend(losses)
            layer._loss_ids.clear()
            layer._loss_ids.update(ids)


@contextlib.contextmanager
def without_marks(model):
    """The layers of a model are not asked again for the losses that they add meanwhile.

    Keras marks what a layer adds in a stateless call as its own. What follows gives it to another.
    """
    marks = [(layer, set(layer._loss_ids)) for layer in layers_of(model)]
    try:
        yield
    finally:
        for layer, ids in marks:
            layer._loss_ids.clear()
            layer._loss_ids.update(ids)


def clear_losses(model):
    """Forget the penalties of the last call, also of the layers inside."""
    model._clear_losses()
