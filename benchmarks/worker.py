"""A process that times entries of one framework, on orders that come as lines of JSON.

`python worker.py MODULE`; every line is [command, arguments...], every answer a line.
"""

import importlib
import json
import os
import sys
import time

import works

NUM_FEW = 10


class Worker:
    def __init__(self, module):
        self.module = importlib.import_module(module)
        self.entries = []

    def load(self, table, key, peer, mode):
        """Build, compare, compile: derivatives at few points, the first step and its effect."""
        work = works.TABLES[table][key]
        values, step, weights = self.module.build(peer, work, mode)
        found = [term.ravel().tolist() for term in values(self.module.tensor(work.batch(0, 50)))]
        self.entries.append((work, step))
        self.timed(work, step, 0, NUM_FEW)  # starts threads, loads libraries
        held, before = start_peak(), weights()
        seconds, loss = self.timed(work, step, 1)
        change = [float(abs(w - old).sum()) for w, old in zip(weights(), before)]
        self.timed(work, step, 2)
        answer = {"values": found, "loss": [loss], "change": [change]}
        return {**answer, "first": seconds, "memory": status("VmHWM:") - held}

    def run(self, number, turn, count):
        """The seconds of `count` steps on fresh points, after one that is not counted."""
        work, step = self.entries[number]
        return [self.timed(work, step, 100 * turn + n)[0] for n in range(count + 1)][1:]

    def timed(self, work, step, seed, points=None):
        x = self.module.tensor(work.batch(seed, points))
        start = time.perf_counter()
        loss = float(step(x))
        return time.perf_counter() - start, loss

    def device(self):
        """ "cpu" or "gpu": where this framework computes."""
        return self.module.device()

    def products(self, table, key, mode):
        return self.module.products(works.TABLES[table][key], mode)


def start_peak():
    """Let the peak of this process's memory start anew; how much it holds now, in MB."""
    if not os.path.exists("/proc/self/clear_refs"):  # not Linux: the peak is not known
        return 0
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return status("VmRSS:")


def status(name):
    if not os.path.exists("/proc/self/status"):
        return 0
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints is no answer
    worker = Worker(sys.argv[1])
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(worker, command)(*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
