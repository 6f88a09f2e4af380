"""While an audit tries a model on random rows, loops that may not end have few iterations."""

import functools

from keras_derivs import backend
from keras_derivs.backend.override import plain
from keras_derivs.backend.switch import Switch
from keras_derivs.graph.private import of_backend

MOST = 1000
# on while an audit runs a model; kept when this module is loaded again
few = globals().get("few") or Switch()


def install():
    original = plain(of_backend.core.while_loop)

    @functools.wraps(original)
    def while_loop(cond, body, loop_vars, maximum_iterations=None):
        if few.on and maximum_iterations is None and not backend.tracing():
            maximum_iterations = MOST
        return original(cond, body, loop_vars, maximum_iterations)

    while_loop._keras_derivs_plain = original
    of_backend.core.while_loop = while_loop


install()
