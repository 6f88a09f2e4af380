"""The command line: numbers, files, and one line for what is wrong."""

import json
import os
import re
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from keras import layers, ops
from truth import EXACT, close

import keras_derivs as kd
from keras_derivs.cli import main, parser, quiet, reports
from keras_derivs.cli.parser import parse
from keras_derivs.export.formats import FORMATS
from keras_derivs.tables import opened, reading
from keras_derivs.verify.report import Check, Report

NAMES = ["area", "age", "rooms"]
MATRIX = np.array([[3.0, -1.0, 0.5], [0.5, 0.25, -2.0]], "float32")
ROWS = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of a price, tanh(w·x), and tables of houses."""
    path = tmp_path_factory.mktemp("houses")
    x = keras.Input((3,), name="x")
    dense = layers.Dense(1, "tanh", name="price")
    keras.Model(x, {"price": dense(x)}).save(path / "house.keras")
    dense.set_weights([MATRIX[:1].T, np.zeros(1)])
    keras.Model(x, {"price": dense(x)}).save(path / "house.keras")
    table = np.column_stack([np.arange(50), ROWS, np.zeros(50)])
    header = ",".join(["id", *NAMES, "price"])
    np.savetxt(path / "all.csv", table, delimiter=",", header=header, comments="", fmt="%.9g")
    np.savetxt(path / "houses.csv", ROWS, delimiter=",", header=",".join(NAMES), comments="")
    np.save(path / "houses.npy", ROWS)
    np.savez(path / "houses.npz", x=ROWS)
    return path


@pytest.fixture
def here(folder, monkeypatch, tmp_path):
    """A working folder of the test's own, with those files."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def environment():
    """Of a process that is to find this package, and says all that TensorFlow says."""
    root = os.path.dirname(os.path.dirname(kd.__file__))
    kept = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    return {**kept, "PYTHONPATH": root}


def run(line):
    return main(line.split())


def slopes(rows):
    """d tanh(w·x)/dx."""
    return (1 - np.tanh(rows @ MATRIX[0]) ** 2)[:, None] * MATRIX[0]


def read(path):
    table = opened(path)
    columns = list(range(len(table.names)))
    return table.names, np.concatenate([rows for _, rows, _ in table.chunks(columns)])


COMMANDS = ["sensitivities", "gradient", "hessian", "laplacian", "verify", "explain", "derive"]


@pytest.mark.parametrize(
    "command",
    [*COMMANDS, *(pytest.param(name, marks=pytest.mark.slow) for name in ("compare", "export"))],
)
def test_the_example_of_the_help_runs(command, here, capsys):
    assert run(f"{command} --help") == 0
    example = re.search(r"example:\n  keras-derivs (.*)", capsys.readouterr().out)[1]
    assert run(example) == 0, capsys.readouterr().err
    for written in re.findall(r"-o (\S+)", example):
        assert (here / written).exists()
    for written in re.findall(r"-o (\S+\.\S+)", example):
        assert (here / written).stat().st_size > 100


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npy", "npz"])
def test_sensitivities_of_every_format(suffix, here, capsys, monkeypatch):
    monkeypatch.setattr(reading, "ROWS", 20)  # several chunks, and batches that do not fit them
    if suffix == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow

        parquet.write_table(
            pyarrow.table({name: ROWS[:, n] for n, name in enumerate(NAMES)}), "houses.parquet"
        )
    inputs = "area:age" if suffix in ("csv", "parquet") else "0:2"
    line = f"sensitivities house.keras houses.{suffix} --outputs price --inputs {inputs}"
    assert run(f"{line} --batch-size 7 -o J.{suffix} --plot J.png") == 0
    assert (here / "J.png").stat().st_size > 5000 and "50 rows" in capsys.readouterr().out
    expected = slopes(ROWS)[:, :2]
    if suffix in ("npy", "npz"):
        found = np.load(f"J.{suffix}", allow_pickle=False)
        found = found["derivatives"] if suffix == "npz" else found
        close(found, expected[:, None], EXACT["float32"])
    else:
        names, found = read(f"J.{suffix}")
        assert names == ["d(price)/d(area)", "d(price)/d(age)"]
        close(found, expected, EXACT["float32"])
    assert sorted(p.name for p in here.iterdir() if p.name.startswith(".")) == []


def test_standardised_sensitivities(here):
    assert (
        run(
            "sensitivities house.keras all.csv --columns area:rooms --standardise -o J.npy --batch-size 8"
        )
        == 0
    )
    scale = ROWS.std(axis=0) / np.tanh(ROWS @ MATRIX[0]).std()
    close(np.load("J.npy")[:, 0], slopes(ROWS) * scale, EXACT["float32"])


def test_the_columns_of_the_outputs_are_told_from_those_of_the_features(here):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])  # without names
    model.set_weights([MATRIX[:1, :2].T, np.zeros(1)])
    model.save("unnamed.keras")
    for names in ("area,age,cost", "area,cost,age"):
        (here / "costs.csv").write_text(f"{names}\n1,2,3\n4,5,6\n")
        assert run("sensitivities unnamed.keras costs.csv --outputs cost -o J.csv") == 0
        assert read("J.csv")[0] == ["d(cost)/d(area)", "d(cost)/d(age)"]


FOREIGN = {  # columns, words of what is asked
    "area,age,rooms,price,zip": "",
    "area,age,rooms,zip,price": "",
    "price,area,age,rooms,town": "",
    "area,age,rooms,zip": "",
    "area,age,rooms,zip ": " --output zip",
    "area,age,rooms,price,zip ": " --output zip",
    "area,age,rooms,zip  ": " --output 0",
}


def test_a_foreign_column_is_never_called_an_output(here, capsys):
    for names, words in FOREIGN.items():
        count = names.count(",") + 1
        (here / "extra.csv").write_text(f"{names}\n{','.join('1' * count)}\n")
        assert run(f"gradient house.keras extra.csv -o o.csv{words}") == 2, names
        told = capsys.readouterr().err
        assert "choose with --columns" in told and told.count("\n") == 1, told
        assert not (here / "o.csv").exists()
        line = "gradient house.keras extra.csv --columns area,age,rooms -o kept.csv"
        assert run(line) == 0 and read("kept.csv")[0] == [f"d(price)/d({x})" for x in NAMES]
        capsys.readouterr()


def test_columns_of_a_model_without_names_are_not_guessed(here, capsys):
    keras.Sequential([keras.Input((2,)), layers.Dense(1)]).save("unnamed.keras")
    (here / "costs.csv").write_text("area,age,cost\n1,2,3\n")
    for words in ("", " --outputs 0", " --outputs=-1:"):
        assert run("sensitivities unnamed.keras costs.csv" + words) == 2
        assert "choose with --columns" in capsys.readouterr().err


def test_second_derivatives(here):
    y = np.tanh(ROWS @ MATRIX[0])
    second = -2 * y * (1 - y**2)
    assert run("hessian house.keras houses.csv --inputs rooms,area -o H.npy --plot H.png") == 0
    w = MATRIX[0][[2, 0]]
    close(np.load("H.npy"), second[:, None, None] * np.outer(w, w), EXACT["float32"])
    assert run("laplacian house.keras houses.npz --inputs=-1 -o L.csv") == 0
    close(read("L.csv")[1][:, 0], second * MATRIX[0, 2] ** 2, EXACT["float32"])


def test_models_of_several_inputs_of_which_one_is_whole_numbers(here):
    kind = keras.Input((1,), dtype="int32", name="kind")
    x, z = keras.Input((2, 2), name="x"), keras.Input((1,), name="z")
    factor = layers.Embedding(3, 1)
    bent = layers.Flatten()(factor(kind)) * ops.sum(x * x, (1, 2))[:, None]
    outputs = [layers.Identity(name="u")(bent + z), layers.Concatenate(name="w")([z * z, 2 * z])]
    model = keras.Model({"kind": kind, "x": x, "z": z}, outputs)
    factor.set_weights([np.array([[1.0], [2.0], [3.0]])])
    model.save("several.keras")
    xs = np.arange(12.0).reshape(3, 2, 2)
    np.savez("data.npz", kind=np.array([0, 2, 1]), x=xs, z=np.array([1.0, 2.0, 3.0]))
    assert run("sensitivities several.keras data.npz --output u --inputs x[0,1],z -o J.npy") == 0
    expected = np.stack([2 * xs[:, 0, 1] * [1, 3, 2], np.ones(3)], axis=1)[:, None]
    close(np.load("J.npy"), expected, EXACT["float32"])
    assert run("sensitivities several.keras data.npz --outputs w --inputs z -o W.npy") == 0
    close(np.load("W.npy")[:, :, 0], [[2, 2], [4, 2], [6, 2]], EXACT["float32"])


def test_derive_saves_a_model_with_named_derivatives(here):
    line = "derive house.keras -o with.keras --features area,age,rooms --gradient price"
    line += " --laplacian bend=price/area,rooms --partial u_ar=price/area,rooms --hessian x"
    assert run(line) == 0
    found = keras.saving.load_model("with.keras").predict(ROWS, verbose=0)
    y = np.tanh(ROWS @ MATRIX[0])[:, None]
    second = -2 * y * (1 - y**2)
    close(found["price"], y, EXACT["float32"])
    close(found["gradient_price"], slopes(ROWS), EXACT["float32"])
    close(found["bend"], second * (MATRIX[0, 0] ** 2 + MATRIX[0, 2] ** 2), EXACT["float32"])
    close(found["u_ar"], second * MATRIX[0, 0] * MATRIX[0, 2], EXACT["float32"])
    hessian = second[:, :, None] * np.outer(MATRIX[0], MATRIX[0])
    close(found["hessian_price"], hessian, EXACT["float32"])


@pytest.mark.slow
def test_verify_checks_the_derivatives_inside_of_a_model(here, capsys):
    assert run("derive house.keras -o with.keras --gradient price --laplacian bend=price/0,2") == 0
    assert run("verify with.keras houses.csv") == 0
    assert "'laplacian" in capsys.readouterr().out


@pytest.mark.parametrize(
    "status, needed, exit_status, words",
    [
        ("ok", True, 0, "all is well"),
        ("undecided", False, 0, "all is well, but 1 of 2 checks are open"),
        ("undecided", True, 3, "not decided: no check failed, but 1 of 2 checks are open"),
        ("left out", True, 3, "not decided: no check failed, but 1 of 2 checks are open"),
        ("FAILED", True, 1, "1 check failed"),
    ],
)
def test_the_exit_status_of_verify_is_what_its_words_say(
    status, needed, exit_status, words, here, capsys, monkeypatch
):
    checks = [Check("first", "ok"), Check("second", status, needed=needed)]
    monkeypatch.setattr(reports, "check", lambda *_, **__: Report("house", checks))
    assert run("verify house.keras houses.csv") == exit_status
    assert words in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow
def test_verify_tells_a_wrong_derivative_by_its_exit_status(here, capsys):
    x = keras.Input((2,))
    lost = layers.Dense(2, "relu")(x)
    keras.Model(x, ops.round(4 * lost) + lost).save("rounded.keras")
    assert run("verify rounded.keras --order 1") == 1
    assert "FAILED" in capsys.readouterr().out
    assert run("explain rounded.keras") == 0
    assert "round" in capsys.readouterr().out.lower()


def bad_files(here):
    np.save("object.npy", np.array([{}]), allow_pickle=True)
    np.save("wide.npy", np.zeros((4, 7)))
    np.save("text.npy", np.array(["a", "b"]))
    (here / "cut.npy").write_bytes((here / "houses.npy").read_bytes()[:60])
    (here / "nan.csv").write_text("area,age,rooms\n1,2,3\n1,,3\n")
    (here / "word.csv").write_text("area,age,rooms\n1,2,3\n1,two,3\n")
    (here / "short.csv").write_text("area,age,rooms\n1,2\n")
    (here / "twice.csv").write_text("area,age,area\n1,2,3\n")
    (here / "empty.csv").write_text("")
    (here / "head.csv").write_text("area,age,rooms\n")
    (here / "cut.keras").write_bytes((here / "house.keras").read_bytes()[:300])
    (here / "cut.npz").write_bytes((here / "houses.npz").read_bytes()[:200])
    np.save("none.npy", np.zeros((0, 3)))
    (here / "large.csv").write_text("area,age,rooms\n1,1e39,3\n")
    keras.Sequential([keras.Input((None, 2)), layers.LSTM(1)]).save("open.keras")
    keras.Sequential([keras.Input((3,)), layers.Lambda(lambda x: x)]).save("code.keras")


WRONG = {
    "sensitivities none.keras houses.csv": "no such file",
    "sensitivities houses.csv houses.csv": "saved as .keras",
    "sensitivities cut.keras houses.csv": "cut.keras: no Keras model.*no archive",
    "sensitivities code.keras houses.csv": "code.keras",
    "sensitivities house.keras none.csv": "no such file",
    "sensitivities house.keras house.keras": "needs the suffix",
    "sensitivities house.keras object.npy": "[oO]bjects",
    "sensitivities house.keras text.npy": "numbers",
    "sensitivities house.keras cut.npy": "cut.npy",
    "sensitivities house.keras cut.npz": "cut.npz",
    "sensitivities house.keras wide.npy": "3 features",
    "sensitivities house.keras nan.csv": "row 1, column 'age' is missing or NaN",
    "sensitivities house.keras word.csv": "line 3, column 'age': 'two' is not a number",
    "sensitivities house.keras short.csv": "line 2 has 2 fields instead of 3",
    "sensitivities house.keras twice.csv": "two columns",
    "sensitivities house.keras empty.csv": "empty",
    "sensitivities house.keras head.csv": "no rows",
    "sensitivities house.keras none.npy": "no rows",
    "sensitivities house.keras large.csv": "row 0, column 'age' is too large for the float32",
    "sensitivities open.keras houses.npy": r"samples of shape \(None, 2\), and the rows .* \(3,\)",
    "sensitivities house.keras houses.csv --inputs aera": "did you mean 'area'",
    "sensitivities house.keras houses.csv --inputs 3": "no such column",
    "sensitivities house.keras houses.csv --inputs 0:9": "3 columns",
    "sensitivities house.keras houses.csv --inputs rooms:area": "nothing lies between",
    "sensitivities house.keras houses.csv --inputs area,0": "more than once",
    "sensitivities house.keras houses.csv --outputs cost": "no such column",
    "sensitivities house.keras houses.csv --columns area": "3 features",
    "sensitivities house.keras houses.csv -o J.txt": "needs the suffix",
    "sensitivities house.keras houses.csv -o none/J.csv": "no folder",
    "sensitivities house.keras houses.csv -o houses.csv": "overwritten",
    "sensitivities house.keras houses.csv --plot J.doc": "suffix of a picture",
    "sensitivities house.keras houses.csv --batch-size 0": "above zero",
    "sensitivities house.keras": "required",
    "sensitivites house.keras": "invalid choice",
    "verify none.keras": "no such file",
    "explain cut.keras": "cut.keras",
    "derive house.keras -o with.keras": "needs a derivative",
    "derive house.keras -o with.h5 --gradient": ".keras",
    "derive house.keras -o with.keras --gradient cost": "no such column",
    "derive house.keras -o with.keras --partial price": "single features, such as|such as",
    "derive house.keras -o with.keras --gradient price=price": "already",
    "derive house.keras -o with.keras --features a,b,a --gradient price": "the same name",
    "export house.keras houses.csv -o houses.csv": "overwritten",
    "export house.keras -o house.keras": "overwritten",
    "export house.keras -o houses.npy": "another file",
    "export house.keras -o .": "another folder",
    "export house.keras -o none/house": "no folder",
}


@pytest.mark.filterwarnings("ignore:.*Lambda")
def test_what_is_wrong_is_told_in_one_line_and_nothing_is_written(here, capsys):
    bad_files(here)
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    for line, words in WRONG.items():
        out = "" if "-o " in line or line.split()[0] in ("verify", "explain") else " -o J.npy"
        assert run(line + out) == 2, line
        told = capsys.readouterr().err
        assert re.search(words, told) and told.count("\n") == 1, (line, told)
        assert {path.name: path.read_bytes() for path in here.iterdir()} == before, line


def test_a_derivative_that_is_not_finite_writes_nothing(here, capsys):
    x = keras.Input((1,), name="x")
    keras.Model(x, ops.sqrt(x)).save("root.keras")
    np.save("zero.npy", np.array([[1.0], [0.0]]))
    assert run("gradient root.keras zero.npy -o g.npy") == 2
    assert "row 1 is not finite" in capsys.readouterr().err and not (here / "g.npy").exists()


@pytest.mark.slow
def test_a_command_prints_no_log_lines(here):
    command = [sys.executable, "-m", "keras_derivs", "explain", "house.keras"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr and "Gradient of price" in done.stdout


@pytest.mark.slow
def test_explain_tries_the_exports(here, capsys):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("what can be exported differs between backends")
    assert run("explain house.keras --exports") == 0
    told = capsys.readouterr().out.split("each tried here")[1]
    for name in ("the model itself", "Gradient of price", "Hessian of price"):
        assert re.search(rf"{name} +│ yes", told), told


def test_an_import_that_fails_prints_what_was_kept_back(capfd):
    with quiet.silence():
        os.write(2, b"log line")
    assert not capfd.readouterr().err
    with pytest.raises(ImportError), quiet.silence():
        os.write(2, b"the reason")
        raise ImportError
    assert capfd.readouterr().err == "the reason"


def test_threads_do_not_wait_in_a_loop(monkeypatch):
    """PyTorch reads the variable when it is imported, so it is set before Keras is."""
    monkeypatch.setattr("sys.argv", ["keras-derivs", "demo"])
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    quiet.start()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    quiet.start()
    assert os.environ["OMP_WAIT_POLICY"] == "active"


def test_what_a_command_is():
    assert quiet.is_command(["-m", "explain"], ["python", "-m", "keras_derivs", "explain"])
    assert quiet.is_command(["/usr/bin/keras-derivs", "demo"], ["python", "/usr/bin/keras-derivs"])
    assert not quiet.is_command(["-m", "keras_derivs"], ["python", "-m", "pytest", "keras_derivs"])
    assert not quiet.is_command(["train.py"], ["python", "train.py", "-m", "keras_derivs"])
    assert not quiet.is_command([], [])


AT_ONCE = {
    "--help": 0,
    "--version": 0,
    "gradient --help": 0,
    "gradient": 2,
    "explain none.keras": 2,
    "gradient house.keras none.csv": 2,
    "gradient house.keras house.keras": 2,
    "gradient house.keras houses.csv -o g.txt": 2,
    "gradient house.keras houses.csv -o none/g.csv": 2,
    "export house.keras -o house --format word": 2,
    "verify house.keras --budget 0": 2,
    "derive house.keras -o with.h5 --gradient": 2,
}


def test_help_and_wrong_arguments_do_not_wait_for_keras(here):
    (here / "keras.py").write_text("raise ImportError('Keras was imported')")
    for line, status in AT_ONCE.items():
        command = [sys.executable, "-m", "keras_derivs", *line.split()]
        blocked = {**environment(), "PYTHONPATH": f"{here}:{environment()['PYTHONPATH']}"}
        done = subprocess.run(command, env=blocked, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert len(done.stderr.splitlines()) == (status == 2)


def large_table(suffix, rows, name):
    """Rows in a file, as others write it: in one group of a parquet file."""
    if suffix == "npy":
        np.save(f"{name}.npy", rows)
    elif suffix == "npz":
        np.savez(f"{name}.npz", x=rows)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        table = pyarrow.table({f"c{n}": column for n, column in enumerate(rows.T)})
        if suffix == "csv":
            pytest.importorskip("pyarrow.csv").write_csv(table, f"{name}.csv")
        else:
            write = pytest.importorskip("pyarrow.parquet").write_table
            write(table, f"{name}.parquet", row_group_size=len(rows))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet", "npy", "npz"])
def test_memory_stays_bounded_for_a_large_table(suffix, here):
    """A table of 160 MB in float32, of which a process may take a part only."""
    columns = 20 if suffix == "csv" else 100  # text takes long to read
    rows = np.random.default_rng(0).normal(size=(400_000, columns)).astype("float32")
    x = keras.Input((columns,), name="x")
    keras.Model(x, layers.Dense(1, "tanh")(x)).save("wide.keras")
    code = (
        "import resource, json; from keras_derivs.cli import main;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        f"run = lambda name: main(['gradient', 'wide.keras', f'{{name}}.{suffix}',"
        f"'--batch-size', '8192', '-o', 'g.{suffix if suffix != 'csv' else 'npy'}']);"
        "assert run('small') == 0; before = peak();"
        "assert run('big') == 0; print(json.dumps(peak() - before))"
    )
    large_table(suffix, rows[:20_000], "small")
    large_table(suffix, rows, "big")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    bound = 30_000 if suffix == "csv" else 80_000  # kilobytes; half of the rows themselves
    assert json.loads(done.stdout.splitlines()[-1]) < bound


@pytest.mark.slow
def test_a_terminal_shows_how_far_it_is(here):
    """A pseudo-terminal, in which the bar is drawn on stderr; a file gets none."""
    pty = pytest.importorskip("pty")
    command = [sys.executable, "-m", "keras_derivs", "gradient", "house.keras", "houses.npy"]
    own, its = pty.openpty()
    options = {"env": {**environment(), "TERM": "xterm"}, "stdout": subprocess.PIPE}
    with subprocess.Popen([*command, "-o", "g.npy"], stderr=its, **options) as process:
        os.close(its)
        shown = b""
        try:
            while part := os.read(own, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        os.close(own)
    assert process.returncode == 0 and b"gradient" in shown and b"100%" in shown
    done = subprocess.run(
        [*command, "-o", "g.npy"], capture_output=True, check=True, **{"env": environment()}
    )
    assert not done.stderr


def test_an_option_that_stands_once_is_not_overwritten(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(["gradient", "m.keras", "d.csv", "--inputs", "a", "--inputs", "b", "-o", "J.csv"])
    assert "argument --inputs: given more than once" in capsys.readouterr().err
    found = parse(["derive", "m.keras", "-o", "w.keras", "--gradient", "a", "--gradient", "b"])
    assert found.gradient == ["a", "b"] and found.file == "w.keras"


def test_the_parser_knows_what_the_commands_are():
    assert parse(["demo", "--quick"]).quick
    assert list(parser.FORMATS) == [form.name for form in FORMATS]
    assert main(["--help"]) == 0


def test_the_version_stands_in_one_place(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"keras-derivs {kd.__version__}\n"


def test_other_files_may_lie_among_the_arrays(here):
    with zipfile.ZipFile("more.npz", "w") as file:
        file.writestr("notes.txt", "measured in May")
        file.write("houses.npy", "x.npy")
    assert run("gradient house.keras more.npz -o g.npy") == 0
    close(np.load("g.npy"), slopes(ROWS), EXACT["float32"])
