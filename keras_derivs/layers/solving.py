"""An engine computes what a layer planned; what it cannot compute is an error that says why."""

from dataclasses import replace

from keras_derivs.audit.notes import without_gradient
from keras_derivs.backend import NO_GRADIENT
from keras_derivs.engine import choose


def solve(layer, plan, target, vectors):
    """y and the results of the engine that the plan chose, or of the tape where Taylor fails."""
    request = layer.with_vectors(plan, target, vectors)
    try:
        return choose.solve(plan.choice, target, request)
    except NO_GRADIENT as error:
        raise without_gradient(error, layer.model, plan.steps, request.order) from error
    except choose.UnsupportedOperation as error:  # such as masks, which only a call brings
        if layer.strategy != "auto":
            raise
        choice = choose.without_taylor(request, plan.y, plan.xs, error.told)
        plan = replace(plan, choice=choice)
        layer.changed_to(plan)
        return choose.solve(choice, target, layer.with_vectors(plan, target, vectors))
    except Exception as error:
        if "not invertible" in str(error):
            raise _without_inverse(layer, target) from error
        raise


def _without_inverse(layer, target):
    shapes = [tuple(x.shape) for x in target.inputs]
    return ValueError(
        f"'{layer.name}' needs matrices that can be inverted where '{layer.model.name}' takes "
        f"`inv`, `solve` or `slogdet`. Received: inputs of shape {shapes} that give a singular "
        f"one. Keep those out; `det` has its derivative there."
    )
