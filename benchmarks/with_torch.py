"""PyTorch: nested autograd, torch.func (forward over reverse), and DeepXDE on top of PyTorch."""

import os

os.environ["DDE_BACKEND"] = "pytorch"

import deepxde
import numpy as np
import torch
from torch.func import grad_and_value, jvp, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

DEVICE = os.environ.get("BENCHMARK_DEVICE", "cpu")  # "cuda" by gpu.py
torch.set_default_device(DEVICE if torch.cuda.is_available() else "cpu")


def tensor(array):
    return torch.from_numpy(array).to(DEVICE)


def device():
    on_gpu = DEVICE == "cuda" and torch.cuda.is_available()
    return "gpu" if on_gpu else "cpu"


def network(weights, x):
    *hidden, kernel, bias = weights
    for n in range(0, len(hidden), 2):
        x = torch.tanh(torch.addmm(hidden[n + 1], x, hidden[n]))
    return torch.addmm(bias, x, kernel)


def slope(y, x):
    return torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0]


def autograd(f, work):
    """Each derivative by a backward pass through the lower ones."""

    def line(x):
        found = [f(x)]
        for _ in range(work.order):
            found.append(slope(found[-1], x))
        return found

    def burgers(x):
        u = f(x)
        slopes = slope(u, x)
        u_t, u_x = slopes[:, :1], slopes[:, 1:]
        return u, u_t, u_x, slope(u_x, x)[:, 1:]

    def laplacian(x):
        u = f(x)
        return u, one_by_one(u, x)

    def riding(x):
        """All directions in the batch axis, which is faster for many."""
        batch, features = x.shape
        copies = x.detach().repeat_interleave(features, 0).requires_grad_()
        chosen = torch.eye(features).repeat(batch, 1)
        u = f(copies)
        second = slope((slope(u, copies) * chosen).sum(1), copies)
        return u[::features], (second * chosen).sum(1).reshape(batch, -1).sum(1, keepdim=True)

    def biharmonic(x):
        u = f(x)
        return u, one_by_one(one_by_one(u, x), x)

    laplacian = riding if work.features > 10 else laplacian
    found = {"line": line, "burgers": burgers, "laplacian": laplacian, "biharmonic": biharmonic}
    return lambda x: found[work.kind](x.requires_grad_())


def one_by_one(u, x):
    slopes = slope(u, x)
    return sum(slope(slopes[:, n : n + 1], x)[:, n : n + 1] for n in range(x.shape[1]))


def gradient(f):
    def derived(x):
        y, back = vjp(f, x)
        return y, back(torch.ones_like(y))[0]

    return derived


def functional(f, work):
    def line(x, order=work.order):
        if order == 0:
            return (f(x),)
        found, slopes = jvp(lambda z: line(z, order - 1), (x,), (torch.ones_like(x),))
        return (*found, slopes[-1])

    def burgers(x):
        move = torch.tensor([[0.0, 1.0]]).expand(x.shape)
        (u, slopes), (_, second) = jvp(gradient(f), (x,), (move,))
        return u, slopes[:, :1], slopes[:, 1:], second[:, 1:]

    def laplacian(x):
        return f(x), over_directions(f)(x)

    found = {"line": line, "burgers": burgers, "laplacian": laplacian}
    return found[work.kind]


def over_directions(f):
    """The Laplacian, forward over reverse along all directions at once."""

    def derived(x):
        def second(direction):
            move = direction.expand(x.shape)
            slopes = jvp(lambda z: gradient(f)(z)[1], (x,), (move,))[1]
            return (slopes * direction).sum(1, keepdim=True)

        return vmap(second)(torch.eye(x.shape[1])).sum(0)

    return derived


def by_deepxde(f, work):
    def second(u, x, n):
        return deepxde.grad.hessian(u, x, i=n, j=n)

    def laplacian(u, x):
        return sum(second(u, x, n) for n in range(x.shape[1]))

    def derived(x):
        deepxde.grad.clear()
        x.requires_grad_()
        u = f(x)
        if work.kind == "burgers":
            u_t, u_x = (deepxde.grad.jacobian(u, x, i=0, j=n) for n in range(2))
            return u, u_t, u_x, second(u, x, 1)
        if work.kind == "line":
            found = [u]
            for order in range(1, work.order + 1):
                low = order - 2 + order % 2  # the even order below
                found.append(
                    deepxde.grad.jacobian(found[low], x, i=0, j=0)
                    if order % 2
                    else second(found[low], x, 0)
                )
            return found
        once = laplacian(u, x)
        return u, once if work.kind == "laplacian" else laplacian(once, x)

    return derived


PEERS = {
    "PyTorch autograd": autograd,
    "PyTorch autograd, compiled": autograd,
    "torch.func": functional,
    "DeepXDE": by_deepxde,
}


def build(peer, work, mode):
    """(derivatives of x, training step at x, the weights now)."""
    weights = [tensor(w) for w in work.weights()]
    compiled = {}

    def derive(weights, x):
        return PEERS[peer](lambda z: network(weights, z), work)(x)

    def loss(weights, x):
        return sum(term.square().mean() for term in derive(weights, x))

    def slopes_and_loss(weights, x):
        if peer == "torch.func":
            return grad_and_value(loss)(weights, x)
        weights = [w.detach().requires_grad_() for w in weights]
        value = loss(weights, x.detach())
        return torch.autograd.grad(value, weights, allow_unused=True), value.detach()

    def compile_at(x):
        """All operations of the backward passes in one graph: `compile` alone refuses those."""
        if x.shape not in compiled:
            graph = make_fx(slopes_and_loss)(weights, x)
            compiled[x.shape] = torch.compile(graph, dynamic=False)
        return compiled[x.shape]

    def step(x):
        slopes, value = (compile_at(x) if mode == "compile" else slopes_and_loss)(weights, x)
        for weight, change in zip(weights, slopes):
            if change is not None:
                weight -= work.rate * change
        return value

    def values(x):
        return [term.detach().cpu().numpy() for term in derive(weights, x)]

    return values, step, lambda: [np.array(w.cpu()) for w in weights]
