"""How large an argument may be: a file brings arguments, too, and a small file can ask for much.

Checked before anything of that size is made.
"""

import math
import numbers
import reprlib

MAX_AXES = 32
MAX_NUMBERS = 2**24  # in one list of indices, weights or vectors
MAX_INTEGER = 2**31 - 1  # of a count that costs no memory
MAX_SAMPLES = 2**20  # random directions: their mean is then good to one part in a thousand
MAX_ENTRIES = 2**31 - 1  # of one result, per sample: 8 GiB in float32
MAX_TERMS = 2**16  # partial derivatives that one request passes, its lower ones counted
MAX_LOWER = 256  # of one term: order 8 in as many features; a file must not ask for 2^30
MAX_DEPTH = 64  # of lists and dicts inside each other in a config
MAX_NESTED = 16  # derivatives of derivatives: each multiplies the cost by two or more

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 100
_repr.maxlong = 30


def check(count, most, argument, unit):
    """Raise if an argument, such as `num_samples=`, asks for more than `most` of something."""
    if count > most:
        raise ValueError(
            f"`{argument}` needs at most {most:,} {unit}. Received: {shown(count)}. Ask for less: "
            f"no layer is made, and no file loaded, that asks for so much."
        )


def is_whole(number):
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def is_real(number):
    return isinstance(number, numbers.Real) and not isinstance(number, bool)


def shown(value):
    """A value in an error message: not longer than a line or two."""
    try:
        return _repr.repr(value)
    except Exception:  # such as an integer with too many digits to be printed
        return f"a value of type {type(value).__name__}"


def length(items):
    """The number of items of a list; one thing counts as one."""
    return len(items) if isinstance(items, (list, tuple)) else 1


def size_of(nested):
    """How many leaves nested lists have, without a list of them; stops beyond what is allowed."""
    if hasattr(nested, "shape"):
        return math.prod(n for n in nested.shape if isinstance(n, int))
    count, waiting = 0, [nested]
    while waiting and count <= MAX_NUMBERS:
        item = waiting.pop()
        if not isinstance(item, (list, tuple)):
            count += 1
        elif len(item) + count > MAX_NUMBERS:
            return len(item) + count
        else:
            waiting.extend(item)
    return count


def check_depth(config, name):
    """Raise for a config that is nested deeper than what goes through it can follow."""
    paths = [iter([value for key, value in config.items() if key != "model"])]
    while paths:
        item = next(paths[-1], paths)
        if item is paths:
            paths.pop()
        elif isinstance(item, (dict, list, tuple)) and len(item) <= MAX_NUMBERS:
            if len(paths) > MAX_DEPTH:
                raise ValueError(
                    f"`{name}.from_config` needs lists and dicts of at most {MAX_DEPTH} levels. "
                    f"Received: more than that. Give what `get_config` returned."
                )
            paths.append(iter(item.values() if isinstance(item, dict) else item))


def check_result(shape, name):
    """Raise for a result that no memory holds; nested derivatives multiply shapes."""
    entries = math.prod(n for n in shape if isinstance(n, int))
    if entries > MAX_ENTRIES:
        raise ValueError(
            f"'{name}' needs a result of at most {MAX_ENTRIES:,} entries per sample. Received: "
            f"shape {(None, *shape)}, {shown(entries)} entries. Ask for a part with `SubJacobian`, "
            f"or for a product with `JVP`, `VJP` or `HVP`."
        )
