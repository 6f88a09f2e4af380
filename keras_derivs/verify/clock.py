"""How much time is left, and a line that says how far the work is."""

import sys
import time
from dataclasses import dataclass, field

PATIENCE = 2.0  # seconds without a word
BETWEEN = 5.0  # seconds between two lines where a line cannot be written over


class OutOfTime(Exception):
    """Raised by whatever works when the budget is spent."""


@dataclass
class Clock:
    """Seconds to spend; without a budget there is no end."""

    budget: float | None = None
    start: float = field(default_factory=time.monotonic)
    written: float = 0.0

    @property
    def spent(self):
        return time.monotonic() - self.start

    @property
    def left(self):
        return float("inf") if self.budget is None else self.budget - self.spent

    def check(self):
        if self.left < 0:
            raise OutOfTime

    def grant(self, seconds):
        """A clock of its own for what follows, of at least so many seconds."""
        return Clock(None if self.budget is None else max(self.left, seconds))

    def progress(self, done, total, name):
        """Say how far the work is, once it takes longer than a moment."""
        terminal = sys.stderr.isatty()
        if self.spent < PATIENCE or (not terminal and self.spent - self.written < BETWEEN):
            return
        self.written = self.spent
        of = "" if self.budget is None else f" of {self.budget:g}"
        text = f"verify: {done} of {total} checks, {self.spent:.0f}{of} s, now: {name}"
        print(f"\r{text[:99]:99}" if terminal else text, end="" if terminal else "\n",
              file=sys.stderr, flush=True)  # fmt: skip

    def clear(self):
        if self.written and sys.stderr.isatty():
            print(f"\r{'':99}\r", end="", file=sys.stderr, flush=True)
