"""Layers that stand inside of the model they hold, as attributes of it."""

import keras


def may_gain_layers(layer):
    """Whether layers may still be added: one that has its weights takes no more."""
    return not layer._tracker.locked


class Circular:
    """A layer that may stand inside of the model it holds: there it counts as one without layers.

    Keras asks every layer for those inside of it, and would never end. It also warns of
    layers that the call of a model did not build.
    """

    _may_be_inside = False

    @property
    def _layers(self):
        return [] if self._is_inside() else _own(self, "_layers")

    @_layers.setter
    def _layers(self, layers):
        vars(self)["_layers"] = layers

    @property
    def built(self):
        """Whether the model has its weights; there are no others. In a cycle it makes them."""
        model = vars(self).get("model") or vars(self).get("_modules", {}).get("model")
        return _own(self, "built") or getattr(model, "built", False) or self._is_inside()

    @built.setter
    def built(self, flag):
        vars(self)["built"] = flag

    def __dir__(self):
        """What Keras goes through when it loads weights."""
        return [name for name in super().__dir__() if name != "model" or not self._is_reached()]

    def named_children(self):
        """What PyTorch goes through when a model is trained or moved."""
        return iter(()) if self._is_reached() else super().named_children()

    def _is_inside(self):
        return self._may_be_inside and _holds(_own(self, "_layers"), self, _counted)

    def _is_reached(self):
        """Also as an attribute that Keras does not count as a layer of the model."""
        return _holds(_own(self, "_layers"), self, _attributes)


def _own(layer, name):
    try:
        return vars(layer)[name]
    except KeyError:
        raise AttributeError(name) from None


def _holds(layers, wanted, inside):
    """Whether one of `layers` is `wanted`, or holds it, at any depth."""
    seen, waiting = set(), list(layers)
    while waiting:
        layer = waiting.pop()
        if layer is wanted:
            return True
        if id(layer) not in seen:
            seen.add(id(layer))
            waiting.extend(inside(layer))
    return False


def _counted(layer):
    return _own(layer, "_layers") if isinstance(layer, Circular) else layer._layers


def _attributes(layer):
    values = [*vars(layer).values(), *vars(layer).get("_modules", {}).values()]
    return [*_counted(layer), *(x for x in values if isinstance(x, keras.layers.Layer))]
