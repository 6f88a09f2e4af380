"""What `verify` found."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """One comparison: `status` is "ok", "FAILED", "kink" or "skipped"."""

    name: str
    status: str
    error: float | None = None
    tolerance: float | None = None
    note: str = ""

    def __str__(self):
        numbers = [f"{n:9.1e}" if n is not None else " " * 9 for n in (self.error, self.tolerance)]
        return f"{self.status:8}{self.name:32}{numbers[0]} {numbers[1]}  {self.note}".rstrip()


@dataclass(frozen=True)
class Report:
    """The checks of one model or layer; true if none of them failed.

    `culprit` names the first layer at fault, `None` if all is well or no layer shows it.
    """

    subject: str
    checks: list = field(default_factory=list)
    culprit: str | None = None

    @property
    def ok(self):
        return not self.failures

    @property
    def failures(self):
        return [check for check in self.checks if check.status == "FAILED"]

    def __bool__(self):
        return self.ok

    def __str__(self):
        head = f"{'':8}{self.subject:32}{'error':>9} {'tolerance':>9}"
        verdict = "all is well" if self.ok else f"{len(self.failures)} checks failed"
        at_fault = f"; the first layer at fault: {self.culprit}" if self.culprit else ""
        return "\n".join([head, *map(str, self.checks), verdict + at_fault])

    __repr__ = __str__
