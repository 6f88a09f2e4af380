"""Published tables: what is trained is what they say, and a short training works."""

import json
import pathlib
import sys

import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).parent.parent / "benchmarks" / "tables"))

import allen_cahn
import failures
import hamiltonian
import published
import reproduce

STEP = 1e-4


def differences(f, x):
    """The gradient of values of (B,) by central differences."""
    moves = STEP * np.eye(x.shape[1])
    return np.stack([(f(x + move) - f(x - move)) / (2 * STEP) for move in moves], axis=1)


ENERGIES = {
    "mass-spring": lambda s: s[:, 0] ** 2 + s[:, 1] ** 2,
    "pendulum": lambda s: 3 * (1 - np.cos(s[:, 0])) + s[:, 1] ** 2,
    "two bodies": hamiltonian.energy_of_two_bodies,
}


@pytest.mark.parametrize("name", hamiltonian.SYSTEMS)
def test_the_rates_of_a_system_are_those_of_its_energy(name):
    system, random = hamiltonian.SYSTEMS[name], np.random.default_rng(0)
    states = system.train_on(random, 6)
    slopes = differences(ENERGIES[name], states)
    half = states.shape[1] // 2
    expected = np.concatenate([slopes[:, half:], -slopes[:, :half]], axis=1)
    np.testing.assert_allclose(system.rates(states), expected, rtol=0, atol=1e-6)
    path = hamiltonian.follow(system.rates, states, np.linspace(0, 10, 3))
    np.testing.assert_allclose(ENERGIES[name](path[-1]), ENERGIES[name](states), rtol=1e-3)


def test_the_right_hand_side_of_allen_cahn():
    """g = Δu + u - u^3, by central differences."""
    random, step = np.random.default_rng(0), 1e-3
    x, c = allen_cahn.points(random, 4, 5).astype("float64"), random.normal(size=(4, 1))
    value = lambda x: allen_cahn.solution(x, c)[0]  # noqa: E731
    u, g = allen_cahn.solution(x, c)
    moves = step * np.eye(5)
    curvature = sum(value(x + move) - 2 * u + value(x - move) for move in moves) / step**2
    np.testing.assert_allclose(curvature + u - u**3, g, rtol=0, atol=1e-5 * np.max(np.abs(g)))


@pytest.mark.parametrize("name", failures.CASES)
def test_the_solution_of_a_failure_mode(name):
    tx = np.random.default_rng(0).uniform([0, 0], [1, 2 * np.pi], (20, 2))
    _, rate, start, solution, _ = failures.CASES[name]
    np.testing.assert_allclose(solution(0 * tx[:, 0], tx[:, 1]), start(tx[:, 1]), rtol=1e-12)
    u = solution(*tx.T)
    u_t, u_x = differences(lambda z: solution(*z.T), tx).T
    left = u_t + rate * u_x if name == "convection" else u_t - rate * u * (1 - u)
    np.testing.assert_allclose(left, 0, rtol=0, atol=1e-3)


def test_the_page_has_the_kept_results_of_all_runs():
    results = json.loads(reproduce.RESULTS.read_text())
    assert set(results) == set(reproduce.RUNS)
    page = (published.DOCS / "tables.md").read_text()
    assert all(published.table(rows, results) in page for rows in published.TABLES.values())


# the largest error of a quick look: far below that of the start, far above that of the table
QUICK = {
    "hamiltonian mass-spring, network of the energy": 0.1,
    "allen-cahn 100": 0.5,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_quick_look_at_a_table(name, capsys):
    found = reproduce.main([name], quick=True)
    assert next(iter(found.values()))["error"] < QUICK[name]
    assert "100%" in capsys.readouterr().out
