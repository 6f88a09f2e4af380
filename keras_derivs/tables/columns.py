"""Columns, chosen by name, by number, or by ranges of those."""

import difflib
import re

from keras_derivs.tables.problem import Problem


def chosen(spec, names, what):
    """The numbers of the chosen ones of `names`.

    `area:rooms` is a range by name, both ends included; `3:7` one by number, counted from 0, the
    end left out; `a,b,5` is a list. A name that contains a colon or a comma is taken whole.

    >>> chosen("b:d", ["a", "b", "c", "d"], "columns"), chosen("-1,0:2", ["a", "b", "c"], "columns")
    ([1, 2, 3], [2, 0, 1])
    """
    if spec in names:
        return [names.index(spec)]
    found = [number for part in _parts(spec) for number in _range(part.strip(), names, what)]
    repeated = {names[number] for number in found if found.count(number) > 1}
    if repeated:
        raise Problem(f"{what} {spec!r}: {', '.join(sorted(repeated))} more than once")
    return found


def _parts(spec):
    """Split at the commas outside of brackets."""
    return re.split(r",(?![^\[]*\])", spec)


def _range(part, names, what):
    number = _position(part, names)
    if number is not None:
        return [number]
    for cut in (at for at, letter in enumerate(part) if letter == ":"):
        ends = [_end(text.strip(), names) for text in (part[:cut], part[cut + 1 :])]
        if None not in ends:
            return _between(part, *ends, len(names), what)
    raise Problem(f"{what} {part!r}: no such column; {_hint(part, names)}")


def _position(text, names):
    if text in names:
        return names.index(text)
    try:
        number = int(text)
    except ValueError:
        return None
    return number % len(names) if -len(names) <= number < len(names) else None


def _end(text, names):
    """(position or `None` for an open end, whether it is a name); `None` where it is neither."""
    if text in names:
        return names.index(text), True
    try:
        return (int(text) if text else None), False
    except ValueError:
        return None


def _between(part, start, stop, count, what):
    (first, _), (last, by_name) = start, stop
    inside = [end for end in (first, last) if end is not None]
    if any(not -count <= end <= count for end in inside):
        raise Problem(f"{what} {part!r}: there are {count} columns, counted from 0")
    found = list(range(count)[first : last + 1 if by_name else last])
    if not found:
        raise Problem(f"{what} {part!r}: nothing lies between these two")
    return found


def _hint(part, names):
    close = difflib.get_close_matches(part, names, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f" … ({len(names)} in all)" if len(names) > 12 else ""
    return f"there are {', '.join(names[:12])}{more}"
