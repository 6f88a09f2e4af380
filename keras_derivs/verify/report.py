"""What `verify` found."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """One comparison.

    `status` is "ok", "FAILED", "kink" (well, but samples near kinks were compared elsewhere),
    "undecided" (differences say nothing), "skipped" (it cannot be done) or "left out" (no time).
    """

    name: str
    status: str
    error: float | None = None
    tolerance: float | None = None
    note: str = ""
    needed: bool = False  # without it nothing is known of the derivative

    def __str__(self):
        numbers = [f"{n:9.1e}" if n is not None else " " * 9 for n in (self.error, self.tolerance)]
        return f"{self.status:10}{self.name:32}{numbers[0]} {numbers[1]}  {self.note}".rstrip()


@dataclass(frozen=True)
class Report:
    """The checks of one model or layer.

    It is true if none of them failed and all derivatives were compared with differences.
    `culprit` names the first layer at fault, `None` if all is well or no layer shows it;
    `operations` what in it is known to lose a derivative. `notes` say what was not looked at.
    """

    subject: str
    checks: list = field(default_factory=list)
    culprit: str | None = None
    operations: tuple = ()
    notes: tuple = ()
    seconds: float = 0.0
    whole: float = 0.0  # seconds that all of it needs, about; 0: not known

    @property
    def ok(self):
        return not self.failures and not any(check.needed for check in self.open)

    @property
    def failures(self):
        return [check for check in self.checks if check.status == "FAILED"]

    @property
    def left_out(self):
        """What there was no time for."""
        return [check for check in self.checks if check.status == "left out"]

    @property
    def open(self):
        """What could not be decided, or was left out."""
        return [check for check in self.checks if check.status in ("left out", "undecided")]

    def __bool__(self):
        return self.ok

    def __str__(self):
        head = f"{'':10}{self.subject:32}{'error':>9} {'tolerance':>9}"
        return "\n".join([head, *map(str, self.checks), *self.notes, self._verdict()])

    __repr__ = __str__

    def _verdict(self):
        count = len(self.failures)
        if count:
            words = f"{count} check{'s' * (count > 1)} failed"
        else:
            words = "all is well" if self.ok else "not decided: no check failed"
        if self.open:
            words += f", but {len(self.open)} of {len(self.checks)} checks are open"
            if self.left_out:
                words += "; a larger `budget=` or `layers=` has time for them"
            if self.left_out and self.whole:
                words += f": all of it needs some {self.whole:.2g} s"
        if self.culprit:
            words += f"; the first layer at fault: {self.culprit}"
        if self.operations:
            words += f", by {', '.join(self.operations)}"
        return f"{words} ({self.seconds:.1f} s)"
