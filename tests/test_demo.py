"""The demo trains, compares, saves, reloads and draws."""

import re

import numpy as np
import pytest

from keras_derivs import demo
from keras_derivs.__main__ import main


def relative_errors(printed):
    return [float(number) for number in re.findall(r"^  u\w* +(\S+)$", printed, re.MULTILINE)]


def run(arguments, folder, capsys):
    main(["demo", *arguments, "--output", str(folder)])
    assert (folder / "burgers.png").stat().st_size > 10_000
    errors = relative_errors(capsys.readouterr().out)
    assert max(errors[3:]) < 1e-3  # saved and loaded again
    return errors[0]


@pytest.mark.slow
def test_quick_demo(tmp_path, capsys):
    assert run(["--quick"], tmp_path, capsys) < 0.4


@pytest.mark.slow
def test_full_demo(tmp_path, capsys):
    assert run([], tmp_path, capsys) < 1e-2


def test_the_exact_solution_solves_the_equation():
    t, x = np.meshgrid([0.2, 0.5, 0.9], np.linspace(-0.9, 0.9, 7), indexing="ij")
    h = 1e-5
    at = demo.exact(t, x)
    u_t = (demo.exact(t + h, x)["u"] - demo.exact(t - h, x)["u"]) / (2 * h)
    u_x = (demo.exact(t, x + h)["u"] - demo.exact(t, x - h)["u"]) / (2 * h)
    np.testing.assert_allclose(at["u_x"], u_x, rtol=1e-4, atol=1e-4)
    residual = u_t + at["u"] * at["u_x"] - demo.VISCOSITY * at["u_xx"]
    assert np.max(np.abs(residual)) < 1e-4 * np.max(np.abs(at["u_x"]))
    np.testing.assert_allclose(demo.exact(0 * x, x)["u"], -np.sin(np.pi * x), atol=1e-9)
