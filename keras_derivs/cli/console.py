"""What a command prints: tables on stdout, notes and a progress bar on stderr."""

import sys
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

MOST_ROWS = 30


def show(title, head, rows):
    """Print a table; numbers are aligned to the right, of many rows the first ones are shown."""
    print(title)
    table = Table(show_edge=False)
    numeric = [all(isinstance(row[n], float) for row in rows) for n in range(len(head))]
    for words, right in zip(head, numeric):
        table.add_column(words, justify="right" if right else "left", overflow="fold")
    for row in rows[:MOST_ROWS]:
        table.add_row(*(Text(_shown(value)) for value in row))
    _console(sys.stdout).print(table)
    if len(rows) > MOST_ROWS:
        print(f"… and {len(rows) - MOST_ROWS} more")


def _shown(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _console(file):
    wide = None if file.isatty() else 110
    return Console(file=file, width=wide, highlight=False, emoji=False, markup=False)


@contextmanager
def progress(words):
    """Yield a function that takes the share that is done; the bar is for terminals alone."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    options = {"transient": True, "disable": not sys.stderr.isatty()}
    console = Console(file=sys.stderr)
    with Progress(*columns, TimeRemainingColumn(), console=console, **options) as bar:
        task = bar.add_task(words, total=1.0)
        yield lambda done: bar.update(task, completed=min(done, 1.0))
