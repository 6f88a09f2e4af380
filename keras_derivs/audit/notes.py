"""What a derivative lacks, in the words that a user meets."""

from keras_derivs import backend
from keras_derivs.graph import private

STOPPED = (
    "Gradients are stopped at {places}: the derivative lacks what passes there. This is right "
    "where it is wanted; otherwise take `stop_gradient` out."
)
FLAT = (
    "Constant piece by piece: {places}. The derivative of what passes there is zero. Use a smooth "
    "function if it should count."
)
REPEATED = (
    "Decompositions: {places}. This derivative exists only where the singular or eigenvalues of a "
    "matrix differ; it is NaN where they are equal, and where a matrix that is not square has a "
    "singular value of 0. Use a function of the matrix itself, such as its trace or norm, if that "
    "may be."
)
KINKED = (
    "Piecewise linear: {places}. The second derivative of what passes there is zero. Use a smooth "
    "activation such as 'tanh', 'silu' or 'softplus' if it should count."
)
ESTIMATED = (
    "Rounded: {places}. Its derivative is TensorFlow's straight-through estimate, which takes "
    "rounding for the identity. Leave it out for the derivative of the model before rounding."
)
AT_ZERO = (
    "No second derivative there: {places}. At zero 0 is returned for it, and for the part of a "
    "function of it, even where that function has a second derivative. Powers such as "
    "`norm(x)**2` are exact; write other functions in terms of the square, `ops.sum(x * x)`, if "
    "zeros occur."
)
AT_POINTS = (
    "Selected at single points: {places}. Where the condition holds, the derivative is that of the "
    "selected branch, which is wrong if that is not the function beside the point, as in "
    "`where(x == 0, 1, sin(x) / x)`. Use a function that needs no such branch, such as "
    "`ops.sinc`, or a series around the point."
)
ACROSS = (
    "Rows of the batch: {places} computes along the batch axis. Among {count} random rows none "
    "changed with the others; that this is so for every batch is not known."
)


def across(model, steps, num_rows):
    """A sentence on what may couple rows of other batches than that of `num_rows`."""
    found = [step for step in steps if step.across]
    where = places(model, found, {step.type for step in found})
    return [ACROSS.format(places=where, count=num_rows)] if where else []


def notes(model, steps, order):
    """Sentences on what derivatives up to `order` lack, or have zeros for."""
    kinds = {STOPPED: backend.STOPPED, FLAT: backend.FLAT, ESTIMATED: backend.ESTIMATED}
    kinds |= {REPEATED: backend.VECTORS, AT_POINTS: backend.AT_POINTS}
    if order > 1:
        kinds |= {
            KINKED: backend.KINKED,
            AT_ZERO: backend.AT_ZERO,
            REPEATED: backend.VECTORS | backend.VALUES,
        }
    straight = [step for step in steps if step.straight]
    found = {
        text: places(model, straight if text is KINKED else steps, types)
        for text, types in kinds.items()
    }
    return [text.format(places=where) for text, where in found.items() if where]


def without_gradient(error, model, steps, order):
    """What to say where a framework has no gradient of an operation, or none of its gradient."""
    missing = str(error).split(":")[-1].strip()
    types = {step.type for step in steps if missing.startswith(step.type)}
    where = f", for {places(model, steps, types)}" if types else ""
    return ValueError(
        f"A derivative of order {order} needs operations that {backend.FRAMEWORK} can "
        f"differentiate as often. Received: {str(error).rstrip('.')}{where}, in '{model.name}'. "
        f"Write it in other operations, or register a Taylor rule with `taylor_rule`."
    )


def places(model, steps, types, beside=False):
    """'Round' in 'layer' (of type Layer), ... for the steps of these types on the way, or all."""
    steps = [step for step in steps if step.type in types and (step.on_the_way or beside)]
    found = [place(model, step) for step in steps]
    return ", ".join(dict.fromkeys(found))


def place(model, step, before=""):
    layers = {layer.name: layer for layer in private.layers_of(model) if layer is not model}
    inner = [layers[scope] for scope in step.scopes if scope in layers]
    where = f" in '{inner[-1].name}' (of type {type(inner[-1]).__name__})" if inner else ""
    return f"{before}'{step.type}'{where}"
