"""Names and units of what stands on an axis, given once."""

from dataclasses import dataclass

from keras_derivs.plotting.canvas import number

MOST_HELD = 3  # inputs that a title tells one by one


@dataclass(frozen=True)
class Quantity:
    name: str
    unit: str = ""

    def __str__(self):
        return f"{self.name} [{self.unit}]" if self.unit else self.name


def quantities(given, defaults, argument):
    """A `Quantity` for each of `defaults`, with the names, and units, that were given."""
    if given is None:
        return [Quantity(name) for name in defaults]
    pairs = given.items() if isinstance(given, dict) else [(name, "") for name in _listed(given)]
    found = [Quantity(str(name), str(unit or "")) for name, unit in pairs]
    if len(found) != len(defaults):
        raise ValueError(
            f"`{argument}=` needs {len(defaults)} names: a list, or a dict of names and units. "
            f"Received: {len(found)}, {[quantity.name for quantity in found]}. Give one for each, "
            f"or leave it out."
        )
    return found


def _listed(given):
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        return [given]
    return list(given)


def derivative(y, *xs):
    """The `Quantity` of a derivative of one quantity by others: ∂²y/∂x², or ∂²y/∂x∂z."""
    names = list(dict.fromkeys(x.name for x in xs))
    powers = [sum(x.name == name for x in xs) for name in names]
    below = "".join(f"∂{name}{_power(power)}" for name, power in zip(names, powers))
    units = {x.name: x.unit for x in xs}
    parts = [_raised(units[name], power) for name, power in zip(names, powers)]
    parts = [part for part, name in zip(parts, names) if units[name]]
    return Quantity(f"∂{_power(len(xs))}{y.name}/{below}", _quotient(y.unit, parts))


def _quotient(unit, parts):
    if not parts:
        return unit
    below = parts[0] if len(parts) == 1 else f"({'·'.join(parts)})"
    return f"{_single(unit) or '1'}/{below}"


def _single(unit):
    """In parentheses where a quotient of the unit would be misread."""
    return f"({unit})" if set(unit) & set("/·* ") else unit


def _raised(unit, power):
    if power == 1:
        return _single(unit)
    return (f"({unit})" if unit and unit[-1] in "⁰¹²³⁴⁵⁶⁷⁸⁹" else _single(unit)) + _power(power)


def _power(count):
    return "" if count == 1 else str(count).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def held(point, chosen, quantities):
    """A line for the inputs that a picture does not vary, or "" if there are none."""
    fixed = [(x, at) for n, (x, at) in enumerate(zip(quantities, point)) if n not in chosen]
    if not fixed:
        return ""
    if len(fixed) <= MOST_HELD:
        words = [f"{x.name} = {number(at)} {x.unit}".rstrip() for x, at in fixed]
        return f"\nat {', '.join(words)}"
    values = {at for _, at in fixed}
    where = number(values.pop()) if len(values) == 1 else "fixed values"
    return f"\n{len(fixed)} other inputs at {where}"
