"""An operation of the framework, as the audit speaks of it."""

import re
from dataclasses import dataclass

EXCHANGED = "other_under_xla"  # the scope of operations that are others where XLA compiles


@dataclass(frozen=True)
class Step:
    """An operation of the framework; its name begins with those of the layers around."""

    type: str
    name: str
    on_the_way: bool = True
    own: bool = False  # the model brings its gradient
    across: bool = False  # it computes along the batch axis
    straight: bool = True  # it may lie on a way that never bends, see `curves`
    cancels: int | None = None  # the lowest order that may be wrong where its kinks cancel others
    parts: tuple | None = None  # the operations that it calls, where it has no gradient itself

    @property
    def operation(self):
        """The type without what is told of it, such as ", without a bound"."""
        return self.type.split(",")[0]

    @property
    def differentiated(self):
        """The operations whose gradients it needs."""
        return (self.operation,) if self.parts is None else self.parts

    @property
    def scopes(self):
        """The names of the layers around, also without the number that a second use adds."""
        parts = self.name.split("/")
        return dict.fromkeys(name for text in parts for name in (text, re.sub(r"_\d+$", "", text)))
