"""The framework that Keras runs on, behind one contract.

Each of `tensorflow`, `jax` and `torch` defines the same names, the latter two with some of
`defaults`; only the one that Keras runs on is imported.

- `vjp(function, xs, num_pulls=1)`: call `function(xs)`, which returns `(outputs, beside)`, and
  return `(outputs, beside, pull)`. `outputs` is a list whose items are tensors or lists of
  tensors. `pull(n, cotangent)` gives, for each x, the gradient of the sum of `outputs[n]`
  weighted by `cotangent` (`None`: by one), or `None` where no gradient arrives. It is called
  `num_pulls` times. `beside` is passed on. All results can be differentiated again.
- `evaluate(function, inputs, model)`: the tensor `function(inputs)`, which calls the model; exact
  derivatives of it exist, and it leaves no trace.
- `at_each(function, columns)`: what `function(*numbers)`, which returns `(beside, results)`,
  returns for the numbers in each row of `columns`, the tensors in `results` stacked in front;
  `beside` must not depend on the numbers. `None` where the framework cannot do so at once.
- `jacobians_of_rows(function, xs, inputs, columns)`: for a `function(xs, inputs)` of shape (rows,
  columns), whose rows depend on their own rows of `inputs` alone, its derivatives by all numbers
  of `xs` at once: (rows, columns, numbers).
- `at_once(function, inputs)`: `function(inputs)`; a framework that compiles operation by operation
  may compile all of them at once.
- `precise()`: the context in which derivatives are computed; `scope(model)`: the one in which the
  model runs so that they are exact and leave no trace.
- `selected(function, inputs)`: `function(inputs)`, a list of tensors. In its gradients, such as
  those of a loss by the weights, what is not selected has no part.
- `selecting(cotangent)`: the cotangent, marked: where it is zero, nothing is selected.
- `slope_of_tanh(x)`: the derivative of tanh, right to rounding of itself.
- `sum_of_directions(x)`: the sum over the first axis, which holds directions.
- `double()`: the context in which a model computes in float64 where it is asked to.
- `constant(number)`: a number of a formula, as the framework's own functions have it.
- `after(tensors)`: the context in which a computation waits for `tensors`.
- `weights_scope()`: a function that makes the context in which weights are made here, for another
  thread.
- `compiled(function, mode)`, for each of the names in `MODES`; `compiling()` and `tracing()`:
  whether a function is being traced, to be compiled or at all.
- `traced(run, inputs, wrt)`: the operations of `run(inputs)`; those that count from the second
  order on alone (`None`: not known), as of gradients that a model brings; and how many bytes the
  operations return. `None` if it cannot be traced.
- `result(x)`: a derivative, or a value beside it, as it is handed out. The gradients of what is
  computed from it, such as those of a loss by the weights, are exact too where a framework's own
  are not.
- `loops(steps, order)` and `not_compiled(steps)`: the types of what a compiler cannot differentiate
  as often, or cannot compile; `refuse_gradient(x, error)`: `x`, whose gradient raises.
- `held()`: the context in which each pass draws the same random numbers, and `drawn()`: whether
  any were drawn.
- `for_format(name)`: the context in which a model is traced for a file of that format.
- `peak_memory(call)`: call it, and return by how many bytes the memory in use rose at its peak;
  `None` where that is not known.
- `FRAMEWORK`: its name in messages.
- `NO_GRADIENT`: the errors of an operation that cannot be differentiated; `MISSING`: of one that
  does not exist in the dtype asked for.
"""

import importlib

import keras

FRAMEWORKS = ("tensorflow", "jax", "torch")
CONTRACT = (
    "AT_POINTS", "AT_ZERO", "ESTIMATED", "FLAT", "FRAMEWORK", "KINKED", "LOST", "MISSING",
    "MODES", "NO_GRADIENT", "STOPPED", "VALUES", "VECTORS", "after", "at_each",
    "at_once", "compiled", "compiling", "constant", "double", "drawn", "evaluate", "for_format",
    "held", "jacobians_of_rows", "loops", "not_compiled", "peak_memory", "precise",
    "refuse_gradient", "result", "scope", "selected", "selecting", "slope_of_tanh",
    "sum_of_directions", "traced", "tracing", "vjp", "weights_scope",
)  # fmt: skip

if keras.backend.backend() not in FRAMEWORKS:
    raise ImportError(
        f"`keras_derivs` needs Keras on one of {FRAMEWORKS}. Received: "
        f"'{keras.backend.backend()}'. Set the environment variable KERAS_BACKEND to one of them."
    )
_framework = importlib.import_module(f"{__name__}.{keras.backend.backend()}")
# these names alone: a framework's other names would hide the modules of this package
globals().update({name: getattr(_framework, name) for name in CONTRACT})
