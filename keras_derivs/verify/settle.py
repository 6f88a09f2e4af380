"""Move the samples at which differences say nothing to places where they do."""

import numpy as np

from keras_derivs.verify.clock import OutOfTime
from keras_derivs.verify.problem import by_row, scale

DIRECTIONS = {1: [(1, 0), (0, 1)], 2: [(1, 0), (0, 1), (1, 1), (1, -1)], 3: [(1, 0), (0, 1)]}
KINK = "kink near {samples}: compared {how}"
STEEP = "too steep at {samples} for steps as large as the inputs: compared {how}"


def settled(problem, order):
    """(problem, notes, kinks): the samples with a kink or a jump in reach moved a little."""
    where, kinks = doubtful(problem, order)
    notes, seen = {}, np.zeros(len(kinks), bool)
    for how, change in CHANGES.items():
        rows = where > 0
        if not rows.any() or problem.clock.spent > 0.3 * (problem.clock.budget or np.inf):
            break
        seen |= kinks
        changed = change(problem, rows)
        if changed is None:
            continue
        try:
            found, new_kinks = doubtful(changed, order)
        except OutOfTime:
            break
        better = rows & (found < where)
        problem = _rows_of(problem, changed, better)
        where, kinks = np.where(better, found, where), np.where(better, new_kinks, kinks)
        for row in np.flatnonzero(better):
            notes[row] = how
    return problem, _said(notes, seen), seen | (kinks & (where > 0))


def doubtful(problem, order):
    """For each sample, how many derivatives have no good truth, and whether kinks are why."""
    truths = [
        truth
        for pair in problem.pairs
        for direction in directions(order)
        for truth in problem.truths(pair, direction, range(1, order + 1)).values()
    ]
    bad = np.stack([~truth.good(np.abs(truth.value)) for truth in truths])
    kinked = np.stack([truth.kink for truth in truths])
    return bad.sum(axis=(0, 2)), (bad & kinked).any(axis=(0, 2))


def directions(order):
    return DIRECTIONS[2 if order == 2 else 1]


def _shorter(problem, rows, factor):
    if problem.precision == "float32":
        return None  # rounding hides what is smaller
    where = np.where(rows, factor, 1.0)
    pairs = [{k: by_row(x, where) * x for k, x in pair.items()} for pair in problem.pairs]
    return problem.at(directions=pairs, zoom=_zoom(problem) * where)


def _zoom(problem):
    return np.ones(len(problem.inputs[0])) if problem.zoom is None else problem.zoom


def _holding(problem, rows):
    """Constant vectors, such as padding, stay as they are: that they are constant may matter."""
    free = {k: ~_padding(problem.inputs[k]) for k in problem.wrt}
    if all(part.all() for part in free.values()) or not any(part.any() for part in free.values()):
        return None
    pairs = [{k: x * free[k][:, None] for k, x in pair.items()} for pair in problem.pairs]
    return problem.at(directions=pairs)


def _padding(x):
    """Entries of vectors whose numbers are all the same, and the same in several vectors."""
    if x.ndim < 3:
        return np.zeros(x.shape, bool)
    constant = np.ptp(x, axis=-1) == 0
    values, counts = np.unique(x[..., 0][constant], return_counts=True)
    repeated = np.isin(x[..., 0], values[counts > 1])
    return np.broadcast_to((constant & repeated)[..., None], x.shape)


def _elsewhere(problem, rows, distance):
    random, inputs = np.random.default_rng(problem.seed + 1), list(problem.inputs)
    for k in problem.wrt:
        x = inputs[k]
        shift = distance * random.normal(size=x.shape) * scale(x)
        inputs[k] = (x + by_row(x, np.where(rows, 1.0, 0.0)) * shift).astype(x.dtype)
    return problem.at(inputs=inputs, directions=problem.pairs)


CHANGES = {
    "with its padding held": _holding,
    "by shorter steps": lambda problem, rows: _shorter(problem, rows, 1e-4),
    "at a neighbour": lambda problem, rows: _elsewhere(problem, rows, 0.01),
    "at a neighbour further off": lambda problem, rows: _elsewhere(problem, rows, -0.1),
    "by yet shorter steps": lambda problem, rows: _shorter(problem, rows, 1e-8),
}


def _rows_of(problem, other, rows):
    """The problem, with some of its rows from another one."""
    if not rows.any():
        return problem
    inputs = list(problem.inputs)
    for k in problem.wrt:
        inputs[k] = np.where(by_row(inputs[k], rows), other.inputs[k], inputs[k])
    pairs = [
        {k: np.where(by_row(x, rows), changed[k], x) for k, x in pair.items()}
        for pair, changed in zip(problem.pairs, other.pairs)
    ]
    zoom = np.where(rows, _zoom(other), _zoom(problem))
    return problem.at(inputs=inputs, directions=pairs, zoom=zoom)


def _said(notes, kinks):
    """What was done, in one sentence."""
    parts = []
    for how in dict.fromkeys(notes.values()):
        for text, of_kinks in ((KINK, True), (STEEP, False)):
            rows = [row for row, way in notes.items() if way == how and kinks[row] == of_kinks]
            if rows:
                samples = f"sample{'s' * (len(rows) > 1)} {', '.join(map(str, rows))}"
                parts.append(text.format(samples=samples, how=how))
    return "; ".join(parts)
