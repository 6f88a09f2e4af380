"""Which entries of what a program computes reach its results.

An entry that is left out, by `where`, a slice or a maximum for example, takes no part in a
derivative: the gradient that arrives there is zero, which a framework multiplies by a slope that
may be infinite or no number. That is told from the operations, not from a gradient that is zero:
sqrt(x)^2 has one at 0, and a derivative of 1.

So a program runs twice. The first run tells what is selected, and `plans` follows the entries of
the results backwards: through an operation as its gradient goes, with ones in place of numbers.
In the second run operations meet harmless numbers where their results do not reach the end, and
there return what they did before, so that all values and decisions are as they were.
"""

from keras import ops

HARMLESS = 0.5  # in the domain of every function


def matters(operations, is_singular, selects):
    """Whether something may be left out of what an infinite slope leads to."""
    beyond = set()
    for operation in operations:
        follows = not beyond.isdisjoint(operation.keys)
        if follows and selects(operation):
            return True
        if follows or is_singular(operation):
            beyond.update(operation.outputs)
    return False


def plans(operations, results, passed):
    """For each operation of which some results are left out: masks of its inputs and results.

    Args:
        operations: with `keys` of the tensors they are given (`None` for constants) and `outputs`,
            those of their results.
        results: {key of what the program returns: its mask}.
        passed: a function of an operation and the masks of its outputs that returns those of its
            inputs. A mask is `True` for all entries, `None` for none.
    """
    known, found = dict(results), {}
    for number in reversed(range(len(operations))):
        operation = operations[number]
        masks = [known.get(y) for y in operation.outputs]
        if all(mask is None for mask in masks):
            continue
        parts = passed(operation, masks)
        for x, part in zip(operation.keys, parts):
            if x is not None:  # a constant
                known[x] = either(known.get(x), part)
        if any(mask is not True for mask in masks):
            found[number] = parts, masks
    return found


def without_nan(plan, inputs):
    """The plan that exchanges no more than what is no number, which wins where it takes part."""
    parts, masks = plan
    return [either(part, x == x) if is_float(x) else part for part, x in zip(parts, inputs)], masks


def guarded(where, call, plan, inputs, before):
    """`call(inputs)`, a list, away from what does not reach the end; that is as it was `before`.

    `where` is the framework's own, which keeps dtypes.
    """

    def chosen(mask, x, other):
        if mask is True or not is_float(x):
            return x
        return where(ops.zeros_like(x, dtype="bool") if mask is None else mask, x, other)

    parts, masks = plan
    found = call([chosen(part, x, HARMLESS) for part, x in zip(parts, inputs)])
    return [chosen(mask, y, ops.stop_gradient(old)) for mask, y, old in zip(masks, found, before)]


def is_float(x):
    return ops.is_tensor(x) and "float" in str(x.dtype)


def either(one, other):
    if one is None or other is None:
        return other if one is None else one
    return True if one is True or other is True else one | other
