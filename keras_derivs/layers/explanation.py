"""How a derivative layer tells of itself, in words and in notebooks."""

import html

from keras_derivs.engine import choose


class Explanation(str):
    """What `explain()` returns: a text, which notebooks show as a table."""

    __slots__ = ("heading", "rows")

    def __new__(cls, text, heading, rows):
        made = super().__new__(cls, text)
        made.heading, made.rows = heading, rows
        return made

    def _repr_html_(self):
        rows = "".join(map(_row, self.rows))
        return f"<table><caption>{html.escape(self.heading)}</caption>{rows}</table>"


def explanation(layer, plan):
    """The `Explanation` of a layer for the inputs that it met last."""
    heading = described(layer)
    notes = [*layer.remarks(), *plan.notes]
    text = ". ".join([f"{heading}: {plan.choice}", *notes, *plan.given])
    others = choose.alternatives(plan.choice, plan.request, plan.y, plan.xs)
    rows = [
        ("strategy", [f"'{plan.choice.strategy}', {plan.choice.reason}"]),
        ("passes", [plan.choice.passes]),
        ("alternatives", [f"'{name}': {words}" for name, words in others.items()]),
        ("notes", notes),
        ("not verified", plan.given),
    ]
    return Explanation(text, heading, [(name, texts) for name, texts in rows if texts])


def described(layer):
    """Such as: Gradient of 'house'."""
    return f"{type(layer).__name__} of '{layer.model.name}'"


def _row(row):
    name, texts = row
    cells = "<br>".join(map(html.escape, texts))
    left = 'style="text-align:left"'
    return f"<tr><th {left}>{name}</th><td {left}>{cells}</td></tr>"


def shown(layer):
    """The `repr` of a layer, with the strategy where it is chosen."""
    model, plan = getattr(layer, "model", None), getattr(layer, "_latest", None)
    if model is None:  # its construction was not finished
        return f"<{type(layer).__name__}>"
    how = f", strategy '{plan.choice.strategy}': {plan.choice.passes}" if plan else ""
    return f"<{type(layer).__name__} '{layer.name}' of '{model.name}'{how}>"
