"""Rows of arithmetic between arrays, reductions, and of what moves entries."""

import numpy as np
from keras import layers, ops
from mpmath import mp
from operation_row import Case, arrays, each, uniform

A, B = (2.0, -1.25, 0.75), (2.0, 0.5, 0.75)  # equal at two places
TIE = [((1.5, 1.5), None)]
EQUAL = np.array([0.75, 1.5, 1.5, -2.0])
HOLES = np.array([0.75, 0.0, 1.5, 0.0])
HOLE = np.array([0.75, 0.0, 1.5, -2.0])
FLAT = np.full(4, 0.75)
EMPTY = np.zeros((0,))


def binary(function, reference, domain=(-2.0, 2.0), **special):
    """A row of a function of two numbers; `special` has {kind: {(x, y): reference or None}}."""
    special = {
        kind: [Case((np.asarray(x), np.asarray(y)), truth and each_of_two(truth))
               for (x, y), truth in cases.items()]
        for kind, cases in special.items()
    }  # fmt: skip
    row = arrays(function, each_of_two(reference), (), (), domain=domain, count=4, **special)
    if "broadcast" not in special:
        row.cases["broadcast"] = [
            Case((uniform((3, 1), *domain), uniform((1, 2), *domain, seed=4)))
        ]
    return row


def each_of_two(function):
    return np.frompyfunc(function, 2, 1)


def mean_of(*functions):
    """At a tie each of the functions has its share."""
    return lambda *z: sum(f(*z) for f in functions) / len(functions)


def first(x, y):
    return x


def second(x, y):
    return y


def zero(x, y):
    return 0 * x


def logaddexp(x, y):
    return mp.log(mp.exp(x) + mp.exp(y))


def logaddexp2(x, y):
    return mp.log(mp.mpf(2) ** x + mp.mpf(2) ** y) / mp.log(2)


def power(x, y):
    return x**y


def floor_mod(x, y):
    return x - y * mp.floor(x / y)


def trunc_mod(x, y):
    q = x / y
    return x - y * mp.sign(q) * mp.floor(abs(q))


def flat(function, reference):
    """x times what has no derivative."""
    return binary(
        lambda x, y: x * ops.cast(function(x, y), x.dtype), lambda x, y: x * reference(x, y)
    )


WIDE = {(1e25, 1e25): None, (1e25, 1.0): None, (1e-30, 1e-30): None, (1e-30, 2e-30): None}
SOME = {(1e3, 1e3): None, (-1e3, 999.0): None, (1e3, -1e3): None, (1e25, 1.0): None}
MAX = {(1.5, 1.5): mean_of(first, second), (0.0, 0.0): mean_of(first, second),
       (1e25, 1e25): mean_of(first, second)}  # fmt: skip
BINARY = {
    "add": binary(ops.add, lambda x, y: x + y, zero={(0.0, 0.0): None}, wide=WIDE),
    "subtract": binary(ops.subtract, lambda x, y: x - y, zero={(0.0, 0.0): None}, wide=WIDE),
    "multiply": binary(ops.multiply, lambda x, y: x * y, zero={(0.0, 0.0): None, (0.0, 2.0): None}, wide=WIDE),
    "divide": binary(ops.divide, lambda x, y: x / y, zero={(0.0, 2.0): None}, wide={(1e10, 1e10): None}),
    "true_divide": binary(ops.true_divide, lambda x, y: x / y, zero={(0.0, 2.0): None}),
    "divide_no_nan": binary(ops.divide_no_nan, lambda x, y: x / y, zero={(0.0, 2.0): None, (1.5, 0.0): zero}),
    "power": binary(ops.power, power, (0.25, 2.0), whole={(1.5, 2.0): None, (2.0, -1.0): None, (1.0, 0.0): None},
                    zero={(0.0, 2.0): lambda x, y: x**2 + 0 * y, (0.0, 3.5): lambda x, y: 0 * x}),
    "arctan2": binary(ops.arctan2, mp.atan2, zero={(0.0, 1.0): None, (1.0, 0.0): None}, wide=WIDE,
                      negative={(0.5, -1.5): None, (-0.5, -1.5): None}),
    "hypot": binary(ops.hypot, mp.hypot, zero={(0.0, 1.5): lambda x, y: mp.sqrt(x * x + y * y), (0.0, 0.0): zero},
                    ties={(1.5, 1.5): None, (-1.5, 1.5): None}, wide={**WIDE, (1e-30, 1.0): None}),
    "logaddexp": binary(ops.logaddexp, logaddexp, ties={(1.5, 1.5): None, (0.0, 0.0): None}, wide=SOME),
    "logaddexp2": binary(ops.logaddexp2, logaddexp2, ties={(1.5, 1.5): None, (0.0, 0.0): None}, wide=SOME),
    "maximum": binary(ops.maximum, lambda x, y: x if x > y else y, ties=MAX),
    "minimum": binary(ops.minimum, lambda x, y: x if x < y else y, ties=MAX),
    "fmax": binary(ops.fmax, lambda x, y: x if x > y else y, ties=MAX),
    "fmin": binary(ops.fmin, lambda x, y: x if x < y else y, ties=MAX),
    "mod": binary(ops.mod, floor_mod),
    "fmod": binary(ops.fmod, trunc_mod),
    "floor_divide": binary(lambda x, y: x * ops.floor_divide(x, y), lambda x, y: x * mp.floor(x / y)),
    "ldexp": binary(lambda x, y: y * ops.ldexp(x, np.array([3])), lambda x, y: y * x * 8,
                    zero={(0.0, 1.5): None}, large={(1e10, 1.5): None}),
    "heaviside": binary(lambda x, y: x * ops.heaviside(x, y), lambda x, y: x if x > 0 else 0 * x),
    "outer, of rows": arrays(lambda x, y: ops.einsum("bi,bj->bij", x, y), lambda x, y: np.multiply.outer(x, y), (2,), (3,)),
    **{
        name: flat(getattr(ops, name), g)
        for name, g in {
            "equal": lambda x, y: int(x == y), "not_equal": lambda x, y: int(x != y), "greater": lambda x, y: int(x > y),
            "greater_equal": lambda x, y: int(x >= y), "less": lambda x, y: int(x < y),
            "less_equal": lambda x, y: int(x <= y), "isclose": lambda x, y: 0,
        }.items()
    },
    "where": binary(lambda x, y: ops.where(x > y, ops.sin(x), x * y), lambda x, y: mp.sin(x) if x > y else x * y,
                    ties={(1.5, 1.5): lambda x, y: x * y}),
    "select": binary(lambda x, y: ops.select([x < y, x < 5], [ops.sin(x), x * y], 0.0),
                     lambda x, y: mp.sin(x) if x < y else x * y),
    "clip by tensors": binary(lambda x, y: ops.clip(x, -y * y, y * y),
                              lambda x, y: -y * y if x < -y * y else y * y if x > y * y else x, broadcast={}),
}  # fmt: skip


def shared_max(at, sign=1):
    """The mean of those entries that are largest at a point."""
    ties = np.flatnonzero(sign * at == np.max(sign * at))
    return lambda x: sum(x[n] for n in ties) / len(ties)


def reduction(
    function,
    reference,
    *extra,
    zero=None,
    equal=None,
    hole=None,
    holes=None,
    wide=True,
    shape=(3, 2),
    **special,
):
    """A row of a reduction of the last axis; references take one sample, (4,)."""
    special = {
        "ties": [Case((EQUAL,), equal)],
        "zero": [Case((at,), truth) for at, truth in ((HOLE, hole), (HOLES, holes)) if truth is not False],
        "zeros": [Case((np.zeros(4),), zero)], "flat": [Case((FLAT,), truth) for truth in [special.pop("flat", equal)] if truth is not False],
        **special,
    }  # fmt: skip
    if wide:
        special["wide"] = [
            Case((np.array([1e25, 2e24, -1e24, 0.5]),)),
            Case((np.array([1e-30, 2e-30, -3e-30, 4e-30]),)),
        ]
    return arrays(function, reference, (4,), **special)


def mean(x):
    return sum(x) / len(x)


def var(x):
    return sum((x - mean(x)) ** 2) / len(x)


def std(x):
    return mp.sqrt(var(x))


def logsumexp(x):
    return mp.log(sum(map(mp.exp, x)))


def softmax(x):
    e = each(mp.exp)(x - x[0])
    return e / sum(e)


def norm(x):
    return mp.sqrt(sum(x * x))


def nothing(x):
    return 0 * x[0]


def taken(point):
    """The entries that `top_k` takes of equal ones: the first, or those that PyTorch returns."""
    places = np.asarray(ops.convert_to_numpy(ops.top_k(point, 2)[1]))
    return lambda x: x[places]


def over(function):
    """Along the last axis of a batch."""
    return lambda x: function(x, axis=-1)


def extremum(name, sign):
    function = getattr(ops, name)
    pick = max if sign > 0 else min
    return reduction(
        over(function), pick, wide=False, equal=shared_max(EQUAL, sign), hole=shared_max(HOLE, sign),
        holes=shared_max(HOLES, sign), zero=mean, flat=mean,
    )  # fmt: skip


def cumulative(x, combine):
    return np.array([combine(x[: n + 1]) for n in range(len(x))], dtype=object)


def product(x):
    return np.prod(x, initial=mp.mpf(1)) if len(x) else mp.mpf(1)


def unit(x):
    """As Keras has it: divided by epsilon where the norm is less."""
    return x / max(norm(x), mp.mpf(10) ** -7)


def unit_of_layer(x):
    return x / max(norm(x), mp.mpf(10) ** -12)


REDUCTIONS = {
    "sum": reduction(over(ops.sum), sum),
    "mean": reduction(over(ops.mean), mean),
    "average": reduction(over(ops.average), mean),
    **{name: extremum(name, 1) for name in ("max", "amax", "nanmax")},
    **{name: extremum(name, -1) for name in ("min", "amin", "nanmin")},
    "ptp": reduction(over(ops.ptp), lambda x: max(x) - min(x), wide=False,
                     equal=lambda x: (x[1] + x[2]) / 2 - x[3], hole=lambda x: x[2] - x[3],
                     holes=lambda x: x[2] - (x[1] + x[3]) / 2, zero=nothing, flat=nothing),
    "prod": reduction(over(ops.prod), product),
    "prod, axes": arrays(lambda x: ops.prod(x, axis=(-1, 1)), lambda x: product(x.ravel()), (2, 3),
                         zero=[(np.array([[0.0, 1.5, 2.0], [0.5, 0.0, 1.25]]),)]),
    "cumprod": reduction(over(ops.cumprod), lambda x: cumulative(x, product)),
    "cumsum": reduction(over(ops.cumsum), lambda x: cumulative(x, sum)),
    "var": reduction(over(ops.var), var),
    "std": reduction(over(ops.std), std, zero=nothing, flat=nothing),
    "norm": reduction(over(ops.norm), norm, zero=nothing),
    "norm, order 1": reduction(lambda x: ops.norm(x, 1, -1), lambda x: sum(map(abs, x)), wide=False, zero=nothing,
                               hole=lambda x: x[0] + x[2] - x[3], holes=lambda x: x[0] + x[2]),
    "norm, order inf": reduction(lambda x: ops.norm(x, np.inf, -1), lambda x: max(map(abs, x)), wide=False,
                                 zero=nothing, equal=lambda x: -x[3], hole=lambda x: -x[3], holes=lambda x: x[2], flat=mean),
    "norm, order 3": reduction(lambda x: ops.norm(x, 3, -1), lambda x: mp.cbrt(sum(abs(x) ** 3)), wide=False, zero=nothing, hole=False, holes=False),
    "norm, Frobenius": arrays(lambda x: ops.norm(x, "fro", (-2, -1)), lambda x: norm(x.ravel()), (2, 3),
                              zero=[Case((np.zeros((2, 3)),), lambda x: 0 * x[0, 0])]),
    "normalize": reduction(over(ops.normalize), unit, zero=None),
    "unit norm": reduction(lambda x: layers.UnitNormalization(dtype=x.dtype)(x), unit_of_layer, wide=False),
    "logsumexp": reduction(over(ops.logsumexp), logsumexp, large=[(np.array([1e3, 999.0, -1e3, 0.0]),), (np.full(4, -1e3),)]),
    "softmax": reduction(over(ops.softmax), softmax, large=[(np.array([1e3, 999.0, -1e3, 0.0]),)], wide=False),
    "log_softmax": reduction(over(ops.log_softmax), lambda x: x - logsumexp(x), large=[(np.array([1e3, 999.0, -1e3, 0.0]),)], wide=False),
    "sort": reduction(over(ops.sort), np.sort, wide=False, holes=lambda x: x[[1, 3, 0, 2]],
                      equal=lambda x: x[[3, 0, 1, 2]], flat=lambda x: x, zero=lambda x: x),
    "median": reduction(over(ops.median), lambda x: mean(np.sort(x)[1:3]), wide=False, equal=lambda x: (x[0] + x[1]) / 2,
                        holes=lambda x: (x[3] + x[0]) / 2, zero=lambda x: (x[1] + x[2]) / 2, flat=False),
    "quantile": reduction(lambda x: ops.quantile(x, 0.25, axis=-1), lambda x: (np.sort(x)[0] + 3 * np.sort(x)[1]) / 4, wide=False,
                          equal=lambda x: (x[3] + 3 * x[0]) / 4, holes=lambda x: (x[1] + 3 * x[3]) / 4, zero=lambda x: (x[0] + 3 * x[1]) / 4, flat=False),
    "percentile": arrays(lambda x: ops.percentile(x, 25.0, axis=-1), lambda x: (np.sort(x)[0] + 3 * np.sort(x)[1]) / 4, (4,)),
    "nanquantile": arrays(lambda x: ops.nanquantile(x, 0.25, axis=-1), lambda x: (np.sort(x)[0] + 3 * np.sort(x)[1]) / 4, (4,)),
    "nanpercentile": arrays(lambda x: ops.nanpercentile(x, 25.0, axis=-1), lambda x: (np.sort(x)[0] + 3 * np.sort(x)[1]) / 4, (4,)),
    "argmax": arrays(lambda x: x * ops.cast(ops.argmax(x, -1, keepdims=True), x.dtype), lambda x: x * np.argmax(x), (4,)),
    "argmin": arrays(lambda x: x * ops.cast(ops.argmin(x, -1, keepdims=True), x.dtype), lambda x: x * np.argmin(x), (4,)),
    "argsort": arrays(lambda x: x * ops.cast(ops.argsort(x), x.dtype), lambda x: x * np.argsort(x), (4,)),
    "top_k": reduction(lambda x: ops.top_k(x, 2)[0], lambda x: np.sort(x)[:1:-1], wide=False, equal=lambda x: x[[1, 2]],
                       holes=lambda x: x[[2, 0]], zero=taken(np.zeros(4)), flat=taken(FLAT)),
    "trapezoid": arrays(lambda x: ops.trapezoid(x * x, dx=0.5, axis=-1), lambda x: np.trapezoid(x * x, dx=mp.mpf("0.5")), (4,)),
    "moments": reduction(lambda x: ops.stack(ops.moments(x, axes=[-1]), -1), lambda x: np.array([mean(x), var(x)])),
    "batch_normalization": arrays(lambda x: ops.batch_normalization(x, np.ones(3), np.full(3, 2.0), -1, offset=np.ones(3), epsilon=0.0),
                                  lambda x: (x - 1) / mp.sqrt(2) + 1, (2, 3)),
    "layer_normalization": reduction(lambda x: ops.layer_normalization(x, axis=-1, epsilon=2**-10),
                                     lambda x: (x - mean(x)) / mp.sqrt(var(x) + mp.mpf(2) ** -10), wide=False),
    "rms_normalization": reduction(lambda x: ops.rms_normalization(x, axis=-1, epsilon=2**-10),
                                   lambda x: x / mp.sqrt(mean(x * x) + mp.mpf(2) ** -10), wide=False),
    **{
        name: arrays(over(getattr(ops, name)), reference, (4,), zero=[(HOLE,), (HOLES,)] if name in ("nansum", "nanmean", "nanprod", "nancumprod", "nanvar") else [])
        for name, reference in {
            "nansum": sum, "nanmean": mean, "nanprod": product, "nanvar": var, "nanstd": std,
            "nancumsum": lambda x: cumulative(x, sum), "nancumprod": lambda x: cumulative(x, product),
            "nanmedian": lambda x: mean(np.sort(x)[1:3]),
        }.items()
    },
    "empty sum": arrays(lambda x, y: ops.sum(x, axis=-1) + y, lambda x, y: y, (0,), ()),
    "empty prod": arrays(lambda x, y: ops.prod(x, axis=-1) * y, lambda x, y: y, (0,), ()),
    "empty cumsum": arrays(lambda x, y: ops.sum(ops.cumsum(x, axis=-1), -1) + y, lambda x, y: y, (0,), ()),
    "empty matmul": arrays(lambda x, y: ops.matmul(x, ops.swapaxes(x, 1, 2)) + y[:, None, None], lambda x, y: y + np.zeros((2, 2)), (2, 0), ()),
    "empty logsumexp": arrays(lambda x, y: ops.sum(ops.exp(x), -1) + y, lambda x, y: y, (0,), ()),
    "sum, all axes": arrays(lambda x: ops.sum(x * x, axis=(-1, -2)), lambda x: np.sum(x * x), (2, 3)),
    "max, axes": arrays(lambda x: ops.max(x, axis=(1, 2)), np.max, (2, 2),
                        ties=[Case((np.array([[1.5, 1.5], [0.5, 1.5]]),), lambda x: (x[0, 0] + x[0, 1] + x[1, 1]) / 3)]),
}  # fmt: skip

C = np.array([[1.0, -2.0], [0.5, 3.0], [2.0, 0.25]])
MOVES = {
    "matmul": arrays(ops.matmul, np.matmul, (2, 3), (3, 2), zero=[(np.zeros((2, 3)), np.zeros((3, 2)))]),
    "matmul, broadcast": arrays(lambda x: ops.matmul(x, C), lambda x: x @ C, (2, 3)),
    "add, to the last axis": arrays(lambda x: ops.add(ops.matmul(x * x, C), ops.convert_to_tensor([0.5, -1.0], x.dtype)), lambda x: (x * x) @ C + np.array([0.5, -1.0]), (2, 3)),
    "dot": arrays(lambda x: ops.dot(x, C), lambda x: x @ C, (2, 3)),
    "tensordot": arrays(lambda x: ops.tensordot(x * x, C, axes=1), lambda x: (x * x) @ C, (2, 3)),
    "einsum": arrays(lambda x, y: ops.einsum("bij,bjk->bki", x, y), lambda x, y: (x @ y).T, (2, 3), (3, 2)),
    "einsum, traces": arrays(lambda x: ops.einsum("bii->b", x) * x[:, 0, 0], lambda x: np.trace(x) * x[0, 0], (2, 2)),
    "cross": arrays(ops.cross, np.cross, (3,), (3,)),
    "inner": arrays(lambda x: ops.inner(x, C.T), lambda x: x @ C, (3,)),
    "outer": arrays(lambda x: ops.reshape(ops.outer(x, C), (-1, 2, 6)), lambda x: np.multiply.outer(x, C.ravel()), (2,)),
    "kron": arrays(lambda x: ops.kron(x, C), lambda x: np.kron(x, C), (2, 2), per_sample=True),
    "vdot": arrays(ops.vdot, lambda x, y: sum(x * y), (3,), (3,), per_sample=True),
    "trace": arrays(lambda x: ops.trace(x * x, axis1=-2, axis2=-1), lambda x: np.trace(x * x), (3, 3)),
    "diagonal": arrays(lambda x: ops.diagonal(x * x, 1, -2, -1), lambda x: np.diagonal(x * x, 1), (3, 3)),
    "diag": arrays(lambda x: ops.diag(x * x), lambda x: np.diag(x * x), (3,), per_sample=True),
    "diagflat": arrays(lambda x: ops.diagflat(x * x), lambda x: np.diagflat(x * x), (3,), per_sample=True),
    "tril": arrays(lambda x: ops.tril(x * x), lambda x: np.tril(x * x), (3, 3)),
    "triu": arrays(lambda x: ops.triu(x * x, 1), lambda x: np.triu(x * x, 1), (3, 3)),
    "concatenate": arrays(lambda x, y: ops.concatenate([x * x, y, C[None, 0] + 0 * y], -1), lambda x, y: np.concatenate([x * x, y, C[0] + 0 * y]), (3,), (2,)),
    "append": arrays(lambda x, y: ops.append(x * x, y, axis=-1), lambda x, y: np.append(x * x, y), (3,), (2,)),
    "stack": arrays(lambda x, y: ops.stack([x * x, y], -1), lambda x, y: np.stack([x * x, y], -1), (3,), (3,)),
    "hstack": arrays(lambda x, y: ops.hstack([x * x, y]), lambda x, y: np.concatenate([x * x, y]), (3,), (2,)),
    "dstack": arrays(lambda x, y: ops.dstack([x * x, y]), lambda x, y: np.concatenate([x * x, y], 1), (2, 2), (2, 1)),
    "vstack": arrays(lambda x, y: ops.vstack([x * x, y]), lambda x, y: np.vstack([x * x, y]), (1, 3), (2, 3), per_sample=True),
    "split": arrays(lambda x: ops.split(x * x, 2, -1)[1], lambda x: (x * x)[2:], (4,)),
    "array_split": arrays(lambda x: ops.array_split(x * x, 3, -1)[0], lambda x: (x * x)[:2], (4,)),
    "hsplit": arrays(lambda x: ops.hsplit(x * x, 2)[1], lambda x: (x * x)[2:], (4,)),
    "vsplit": arrays(lambda x: ops.vsplit(x * x, 2)[1], lambda x: (x * x)[2:], (4, 2), per_sample=True),
    "dsplit": arrays(lambda x: ops.dsplit(x * x, 2)[1], lambda x: (x * x)[:, 1:], (3, 2)),
    "unstack": arrays(lambda x: ops.unstack(x * x, axis=-1)[1], lambda x: (x * x)[1], (4,)),
    "get_item": arrays(lambda x: ops.get_item(x, (slice(None), -1)) * x[..., 0], lambda x: x[-1] * x[:, 0], (2, 2)),
    "slice": arrays(lambda x: x[:, 1:3] * x[:, None, 0], lambda x: x[1:3] * x[0], (4,)),
    "slice, steps": arrays(lambda x: x[:, ::2] * x[:, ::-1][:, 1::2], lambda x: x[::2] * x[::-1][1::2], (4,)),
    "slice, fixed": arrays(lambda x: ops.slice(x * x, (1,), (2,)), lambda x: (x * x)[1:3], (4,), per_sample=True),
    "slice_update": arrays(lambda x, y: ops.slice_update(x * x, (1,), y), lambda x, y: np.array([x[0] ** 2, *y, x[3] ** 2]), (4,), (2,), per_sample=True),
    "scatter": arrays(lambda x: ops.scatter(np.array([[1], [3], [1]]), x * x, (5,)), lambda x: np.array([0, x[0] ** 2 + x[2] ** 2, 0, x[1] ** 2, 0]), (3,), per_sample=True),
    "scatter_update": arrays(lambda x, y: ops.scatter_update(x * x, np.array([[1], [3]]), y), lambda x, y: np.array([x[0] ** 2, y[0], x[2] ** 2, y[1]]), (4,), (2,), per_sample=True),
    "take": arrays(lambda x: ops.take(x * x, [2, 0, 0, -1], axis=-1), lambda x: (x * x)[[2, 0, 0, -1]], (3,)),
    "take, of rows": arrays(lambda x: ops.take(x * x, [2, 0, 0, -1], axis=0), lambda x: (x * x)[[2, 0, 0, -1]], (3, 2), per_sample=True),
    "take_along_axis": arrays(lambda x: ops.take_along_axis(x * x, np.array([[2, 0]]), axis=-1), lambda x: (x * x)[[2, 0]], (3,)),
    "transpose": arrays(lambda x: ops.transpose(x * x, (0, 2, 1)), lambda x: (x * x).T, (2, 3)),
    "swapaxes": arrays(lambda x: ops.swapaxes(x * x, -1, -2), lambda x: (x * x).T, (2, 3)),
    "moveaxis": arrays(lambda x: ops.moveaxis(x * x, -1, 1), lambda x: (x * x).T, (2, 3)),
    "reshape": arrays(lambda x: ops.reshape(x * x, (-1, 6)), lambda x: (x * x).ravel(), (2, 3)),
    "ravel": arrays(lambda x: ops.ravel(x * x), lambda x: (x * x).ravel(), (2, 3), per_sample=True),
    "rearrange": arrays(lambda x: ops.rearrange(x * x, "b i j -> b (j i)"), lambda x: (x * x).T.ravel(), (2, 3)),
    "squeeze": arrays(lambda x: ops.squeeze(x * x, -1), lambda x: (x * x)[:, 0], (3, 1)),
    "expand_dims": arrays(lambda x: ops.expand_dims(x * x, -2), lambda x: (x * x)[None], (3,)),
    "broadcast_to": arrays(lambda x: ops.broadcast_to(x * x, (2, 3)), lambda x: np.broadcast_to(x * x, (2, 3)), (1, 3), per_sample=True),
    "pad": arrays(lambda x: ops.pad(x * x, ((0, 0), (1, 2))), lambda x: np.pad(x * x, (1, 2)), (3,)),
    "pad, reflect": arrays(lambda x: ops.pad(x * x, ((0, 0), (1, 2)), "reflect"), lambda x: (x * x)[[1, 0, 1, 2, 1, 0]], (3,)),
    "pad, symmetric": arrays(lambda x: ops.pad(x * x, ((0, 0), (1, 2)), "symmetric"), lambda x: (x * x)[[0, 0, 1, 2, 2, 1]], (3,)),
    "repeat": arrays(lambda x: ops.repeat(x * x, 2, axis=-1), lambda x: np.repeat(x * x, 2), (3,)),
    "tile": arrays(lambda x: ops.tile(x * x, (1, 2)), lambda x: np.tile(x * x, 2), (3,)),
    "roll": arrays(lambda x: ops.roll(x * x, 1, axis=-1), lambda x: np.roll(x * x, 1), (3,)),
    "rot90": arrays(lambda x: ops.rot90(x * x, axes=(1, 2)), lambda x: np.rot90(x * x), (2, 3)),
    "flip": arrays(lambda x: ops.flip(x * x, axis=-1), lambda x: (x * x)[::-1], (3,)),
    "fliplr": arrays(lambda x: ops.fliplr(x * x), lambda x: (x * x)[::-1], (3,)),
    "flipud": arrays(lambda x: ops.flipud(x * x), lambda x: (x * x)[::-1], (3, 2), per_sample=True),
    "diff": arrays(lambda x: ops.diff(x * x, axis=-1), lambda x: np.diff(x * x), (4,)),
    "diff, twice": arrays(lambda x: ops.diff(x * x, n=2, axis=-1), lambda x: np.diff(x * x, n=2), (4,)),
    "correlate": arrays(lambda x, y: ops.correlate(x, y, "full"), lambda x, y: np.array([sum(x[n + k] * y[k] for k in range(2) if 0 <= n + k < 4) for n in range(-1, 4)]), (4,), (2,), per_sample=True),
    "corrcoef": arrays(ops.corrcoef, lambda x: corrcoef(x), (3, 4), per_sample=True),
    "vander": arrays(lambda x: ops.vander(x, 4), lambda x: np.stack([x**3, x**2, x, x**0], -1), (3,), per_sample=True, zero=[(np.array([0.0, 1.0, -1.0]),)]),
    "meshgrid": arrays(lambda x, y: ops.meshgrid(x * x, y), lambda x, y: (np.stack([x * x] * 2), np.stack([y] * 3, 1)), (3,), (2,), per_sample=True),
    "linspace": arrays(lambda x, y: ops.linspace(x, y, 4, axis=-1), lambda x, y: np.stack([x, (2 * x + y) / 3, (x + 2 * y) / 3, y], -1), (2,), (2,)),
    "logspace": arrays(lambda x, y: ops.logspace(x, y, 3, axis=-1), lambda x, y: np.stack([mp.mpf(10) ** x, mp.mpf(10) ** ((x + y) / 2), mp.mpf(10) ** y], -1), (2,), (2,), domain=(-1.0, 1.0)),
    "geomspace": arrays(lambda x, y: ops.geomspace(x, y, 3), lambda x, y: np.array([x, each(mp.sqrt)(x * y), y]), (), (), domain=(0.5, 2.0), per_sample=True),
    "digitize": arrays(lambda x: x * ops.cast(ops.digitize(x, np.array([0.5])), x.dtype), lambda x: x * (x >= 0.5), (4,)),
    "searchsorted": arrays(lambda x: x * ops.cast(ops.searchsorted(ops.convert_to_tensor([-0.5, 0.5], x.dtype), x), x.dtype), lambda x: x * np.searchsorted(np.array([-0.5, 0.5]), x.astype(float)), (4,), per_sample=True),
    "cast": arrays(lambda x: ops.cast(ops.cast(x, "int32"), x.dtype) * ops.cast(ops.cast(x, "float64"), x.dtype), lambda x: x * each(lambda z: mp.sign(z) * mp.floor(abs(z)))(x), (4,)),
    "saturate_cast": arrays(lambda x: ops.saturate_cast(x * x, "float64"), lambda x: x * x, (3,)),
    "convert_to_tensor": arrays(lambda x: ops.convert_to_tensor(x) * x, lambda x: x * x, (3,)),
    "view_as_complex": arrays(lambda x: ops.view_as_real(ops.view_as_complex(x) * ops.view_as_complex(x)), lambda x: np.stack([x[..., 0] ** 2 - x[..., 1] ** 2, 2 * x[..., 0] * x[..., 1]], -1), (3, 2)),
    "one_hot": arrays(lambda x: ops.one_hot(ops.cast(x > 0, "int32"), 2, dtype=x.dtype) * x[..., None], lambda x: np.stack([x * (x <= 0), x * (x > 0)], -1), (3,)),
    "segment_sum": arrays(lambda x: ops.segment_sum(x * x, np.array([0, 0, 2, 2]), 3), lambda x: np.array([x[0] ** 2 + x[1] ** 2, 0, x[2] ** 2 + x[3] ** 2]), (4,), per_sample=True),
    "segment_prod": arrays(lambda x: ops.segment_prod(x, np.array([0, 0, 2, 2]), 3), lambda x: np.array([x[0] * x[1], 1, x[2] * x[3]]), (4,), per_sample=True, zero=[(HOLES,)]),
    "segment_max": arrays(lambda x: ops.segment_max(x, np.array([0, 0, 1, 1]), 2), lambda x: np.array([max(x[:2]), max(x[2:])]), (4,), per_sample=True,
                          ties=[Case((np.array([1.5, 1.5, 0.5, -1.0]),), lambda x: np.array([(x[0] + x[1]) / 2, x[2]]))]),
    "segment_min": arrays(lambda x: ops.segment_min(x, np.array([0, 0, 1, 1]), 2), lambda x: np.array([min(x[:2]), min(x[2:])]), (4,), per_sample=True,
                          ties=[Case((np.array([1.5, 1.5, 0.5, -1.0]),), lambda x: np.array([(x[0] + x[1]) / 2, x[3]]))]),
    "associative_scan": arrays(lambda x: ops.associative_scan(ops.multiply, x, axis=-1), lambda x: cumulative(x, product), (3,), zero=[(HOLES[:3],)]),
}  # fmt: skip


def corrcoef(x):
    x = x - np.array([mean(row) for row in x])[:, None]
    c = x @ x.T
    d = np.array([mp.sqrt(c[n, n]) for n in range(len(c))])
    return c / np.multiply.outer(d, d)


ROWS = {**BINARY, **REDUCTIONS, **MOVES}
