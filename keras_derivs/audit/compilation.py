"""What cannot be compiled, said before the compiler says it without naming a layer."""

import keras

from keras_derivs import backend
from keras_derivs.audit.notes import places


def obstacle(model, steps, order):
    """What keeps derivatives of that order from being compiled; `None` if nothing does."""
    loops = places(model, steps, backend.loops(steps, order))
    if loops:
        return f"a loop, {loops}, differentiated {order} times"
    return places(model, steps, backend.not_compiled(steps), beside=True) or None


def guarded(results, model, steps, order, name):
    """The results; raises where they cannot be compiled, and where they cannot be trained."""
    if not backend.compiling():
        return results
    found = obstacle(model, steps, order)
    if found:
        raise _error(found, model, name)
    beyond = obstacle(model, steps, order + 1)
    if beyond:
        error = _error(beyond, model, name)
        return keras.tree.map_structure(lambda x: backend.refuse_gradient(x, error), results)
    return results


def _error(found, model, name):
    return ValueError(
        f"XLA (`jit_compile=True`) needs operations that it can compile and differentiate. "
        f"Received: '{name}' of '{model.name}', which goes through {found}. Use "
        f"`jit_compile=False`; a recurrent layer may also be unrolled, `unroll=True`. A loop of "
        f"`keras.ops` needs a number of iterations that is known before it runs (constants in "
        f"`fori_loop`, `maximum_iterations=` of `while_loop`), outside of `vectorized_map` and of "
        f"other loops; write short ones in Python."
    )
