"""What `compare` found, as a table."""

from dataclasses import dataclass

NONE = "\N{EN DASH}"


@dataclass
class Entry:
    """A strategy in one mode: seconds and bytes, or the reason why there are none."""

    strategy: str
    mode: str
    chosen: bool  # by `strategy="auto"`
    seconds: float | None = None
    peak_bytes: int | None = None
    reason: str | None = None


@dataclass
class Comparison:
    """The strategies of a derivative layer, each in every mode."""

    layer: str
    model: str
    training: bool
    entries: list

    @property
    def fastest(self):
        """The fastest entry; `None` if all were refused."""
        timed = [entry for entry in self.entries if entry.seconds is not None]
        return min(timed, key=lambda entry: entry.seconds, default=None)

    def __str__(self):
        what = "a training step" if self.training else "a call"
        modes = list(dict.fromkeys(entry.mode for entry in self.entries))
        head = ["strategy", *(f"{m} {unit}" for m in modes for unit in ("ms", "MB"))]
        strategies = list(dict.fromkeys(entry.strategy for entry in self.entries))
        rows = [head, *(self._row(strategy) for strategy in strategies)]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = [
            "  ".join(
                cell.ljust(width) if n == 0 else cell.rjust(width)
                for n, (cell, width) in enumerate(zip(row, widths))
            ).rstrip()
            for row in rows
        ]
        title = f"{what} of '{self.layer}' of '{self.model}': median time, peak memory"
        return "\n".join([title, *lines, *self._footnotes()])

    __repr__ = __str__

    def _row(self, strategy):
        mine = [entry for entry in self.entries if entry.strategy == strategy]
        star = " (auto)" if mine[0].chosen else ""
        return [strategy + star, *(cell for entry in mine for cell in _cells(entry))]

    def _footnotes(self):
        return [
            f"{NONE} {entry.strategy}, {entry.mode}: {entry.reason}"
            for entry in self.entries
            if entry.reason
        ]


def _cells(entry):
    time = NONE if entry.seconds is None else f"{1e3 * entry.seconds:.2f}"
    return time, NONE if entry.peak_bytes is None else f"{entry.peak_bytes / 1e6:.1f}"
