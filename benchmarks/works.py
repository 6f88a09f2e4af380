"""What is timed: the table of works and the table of peers."""

import itertools
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Work:
    """Derivatives of a tanh network of one output, at random points of [-1, 1]^features.

    `kind` is one of "burgers" (u, u_t, u_x, u_xx of (t, x)), "line" (u and its derivatives up to
    `order`), "laplacian" and "biharmonic" (u and the operator on it). `bounds` are the least
    ratios that are aimed at: the best nested tapes, and the best other peer, to Taylor.
    """

    kind: str
    features: int
    widths: tuple
    points: int
    order: int = 2
    bounds: tuple = (None, None)

    @property
    def rate(self):
        """Of the gradient descent: high derivatives are large, and so are the slopes of them."""
        return 1e-3 if self.order < 5 else 10.0 ** (3 - 2 * self.order)

    def weights(self):
        """The same start for every peer: kernel, bias, kernel, ... in Glorot's range."""
        random, sizes = np.random.default_rng(0), (self.features, *self.widths, 1)
        found = []
        for wide, narrow in itertools.pairwise(sizes):
            limit = np.sqrt(6 / (wide + narrow))
            found.append(random.uniform(-limit, limit, (wide, narrow)))
            found.append(random.uniform(-0.1, 0.1, narrow))
        return [w.astype("float32") for w in found]

    def batch(self, seed, points=None):
        random = np.random.default_rng(seed)
        return random.uniform(-1, 1, (points or self.points, self.features)).astype("float32")


NARROW, WIDE = (20,) * 8, (64,) * 4

TABLE = {
    "u, u_t, u_x, u_xx, 8 layers of 20": Work("burgers", 2, NARROW, 10_000, bounds=(1.1, 1.5)),
    "u, u_t, u_x, u_xx": Work("burgers", 2, WIDE, 10_000, bounds=(1.1, 1.5)),
    "Laplacian, d = 10": Work("laplacian", 10, WIDE, 2_000, bounds=(2, 2)),
    "Laplacian, d = 100": Work("laplacian", 100, WIDE, 500, bounds=(2.5, 2)),
    "u_xxx": Work("line", 1, WIDE, 4_000, 3, bounds=(2, 2)),
    "u_xxxx": Work("line", 1, WIDE, 4_000, 4, bounds=(4, 2)),
    "biharmonic, d = 2": Work("biharmonic", 2, WIDE, 2_000, 4, bounds=(4, 2)),
}
ORDERS = {f"{order}": Work("line", 1, WIDE, 1_000, order) for order in range(1, 7)}
DIMENSIONS = {
    str(d): Work("laplacian", d, WIDE, min(2_000, 50_000 // d))
    for d in (2, 4, 10, 30, 100, 300, 1000)
}


@dataclass(frozen=True)
class Peer:
    """A way to get derivatives: the module that has it, the kinds it knows, how it may be run."""

    module: str
    kinds: tuple
    modes: tuple
    max_features: int = 1000

    def knows(self, work):
        return work.kind in self.kinds and work.features <= self.max_features


ALL = ("burgers", "line", "laplacian", "biharmonic")
QUICK = ("burgers", "line", "laplacian")  # the biharmonic compiles for minutes
GRAPH = ("tf.function", "XLA")
PEERS = {
    "Taylor": Peer("with_tensorflow", ALL, GRAPH),
    "nested tapes": Peer("with_tensorflow", ALL, GRAPH, max_features=100),
    "nested tapes, all directions in the batch": Peer("with_tensorflow", ("laplacian",), GRAPH),
    "nested tapes, term by term": Peer("with_tensorflow", ("biharmonic",), GRAPH),
    "JAX nested grad": Peer("with_jax", ALL, ("jit",), max_features=10),
    "JAX forward mode": Peer("with_jax", ALL, ("jit",)),
    "JAX jet": Peer("with_jax", ("burgers", "line", "biharmonic"), ("jit",)),
    "folx": Peer("with_jax", ("laplacian",), ("jit",)),
    "PyTorch autograd": Peer("with_torch", ALL, ("eager",)),
    "PyTorch autograd, compiled": Peer("with_torch", QUICK, ("compile",)),
    "torch.func": Peer("with_torch", QUICK, ("eager",)),
    "DeepXDE": Peer("with_torch", ALL, ("eager",), max_features=100),
}
TAPES = tuple(name for name in PEERS if name.startswith("nested tapes"))
OTHERS = tuple(name for name, peer in PEERS.items() if peer.module != "with_tensorflow")
MODULES = {  # and what they need
    "with_tensorflow": ("tensorflow",),
    "with_jax": ("jax", "folx"),
    "with_torch": ("torch", "deepxde"),
}
TABLES = {"works": TABLE, "orders": ORDERS, "dimensions": DIMENSIONS}
for name, table in list(TABLES.items()):  # for trials of the scripts
    small = {key: replace(work, widths=(8, 8), points=16) for key, work in table.items()}
    TABLES[f"small {name}"] = small
MEASURED = ("works", "orders", "dimensions")
