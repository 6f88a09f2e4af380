"""The arguments of every command, each with an example."""

import argparse
import math
import sys

import keras_derivs

PROGRAM = "keras-derivs"
SELECTION = "names or numbers: a,b  area:rooms  3:7 (the end left out)"

KINDS = {
    "gradient": "of one entry of an output, by an input or some features",
    "jacobian": "of all entries of an output",
    "hessian": "second derivatives",
    "hessian_diagonal": "second derivatives by each feature twice",
    "laplacian": "their sum",
    "partial": "one partial derivative: u_xx=u/x,x",
}  # what `derive` adds
FORMATS = ("tf_saved_model", "onnx", "litert", "openvino", "torch")  # what `export` writes


class Once(argparse.Action):
    """An option that stands once: the last of several would win without a word."""

    def __call__(self, parser, namespace, values, option_string=None):
        if option_string and getattr(namespace, self.dest) is not self.default:
            parser.error(f"argument {option_string}: given more than once")
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """One line for what is wrong, and exit status 2."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register("action", None, Once)

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parse(arguments=None):
    parser = Parser(
        prog=PROGRAM,
        description="Derivatives of trained Keras models.",
        epilog="Each command tells more: keras-derivs sensitivities --help. Models are .keras "
        "files, loaded in Keras's safe mode; tables are csv, parquet, npy or npz files.",
    )
    version = f"{PROGRAM} {keras_derivs.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (*_DERIVATIVES, _verify, _explain, _compare, _derive, _export, _demo):
        add(commands)
    given = sys.argv[1:] if arguments is None else arguments
    return parser.parse_args(given or ["--help"])


def _command(commands, name, run, help, example):
    command = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=f"example:\n  {PROGRAM} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)  # "module.function": nothing is imported for the help
    return command


def _model(command, data=None):
    command.add_argument("model", metavar="MODEL.keras")
    if data:
        optional = {"nargs": "?"} if data == "optional" else {}
        words = "a table: .csv, .parquet, .npy or .npz; random numbers if it is left out"
        words = words if optional else words.split(";")[0]
        command.add_argument("data", metavar="DATA", help=words, **optional)
        command.add_argument(
            "--columns",
            metavar="COLUMNS",
            help="what feeds the model, one column a feature; by default the columns with the "
            "names of its inputs, or else all but those with the names of its outputs, in the "
            "order of the file, which must be that of the training",
        )


def _derivative(name, help, example, many=True):
    def add(commands):
        command = _command(commands, name, "derivatives.run", help, example)
        _model(command, "needed")
        words = "outputs to differentiate" if many else "the output to differentiate"
        command.add_argument(
            "--outputs",
            "--output",
            metavar="OUTPUTS",
            help=f"{words} ({SELECTION})",
        )
        command.add_argument(
            "--inputs", metavar="COLUMNS", help="columns to differentiate by; all by default"
        )
        if name in ("sensitivities", "gradient"):
            command.add_argument(
                "--standardise",
                "--standardize",
                action="store_true",
                help="in standard deviations of y by standard deviations of x, over the table",
            )
        if name != "laplacian":
            command.add_argument("--plot", metavar="PICTURE", help="draw the mean and the spread")
        else:
            command.set_defaults(plot=None)
        command.add_argument(
            "-o", "--output-file", dest="file", metavar="FILE",
            help="write a row for each sample: .csv, .parquet, .npy or .npz",
        )  # fmt: skip
        command.add_argument(
            "--batch-size", type=_count, metavar="N", help="samples at a time; chosen by default"
        )

    return add


def _count(text):
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return int(text)


def _seconds(text):
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return number


_DERIVATIVES = (
    _derivative(
        "sensitivities",
        "the Jacobian of chosen outputs by chosen inputs, for every row of a table",
        "sensitivities house.keras houses.csv --outputs price --inputs area:rooms -o J.csv",
    ),
    _derivative(
        "gradient",
        "the gradient of one output, for every row of a table",
        "gradient house.keras houses.csv --output price -o slopes.npy",
        many=False,
    ),
    _derivative(
        "hessian",
        "second derivatives by chosen inputs, for every row of a table",
        "hessian house.keras houses.csv --output price --inputs area,rooms -o H.npz",
    ),
    _derivative(
        "laplacian",
        "the sum of the second derivatives by chosen inputs, for every row of a table",
        "laplacian house.keras houses.csv --inputs 0:2 -o laplacian.csv",
    ),
)


def _verify(commands):
    help = "compare derivatives with differences; exit status 1 if one is wrong, 3 if undecided"
    command = _command(commands, "verify", "reports.verify", help, "verify house.keras houses.csv")
    _model(command, "optional")
    command.add_argument(
        "--order",
        type=int,
        choices=(1, 2, 3),
        help="check the model itself to this order; by default to order 2, or, where it has "
        "derivatives inside, those",
    )
    command.add_argument("--layers", metavar="NAMES", help="check single layers: a,b")
    command.add_argument(
        "--budget", type=_seconds, default=30.0, metavar="SECONDS", help="the time to spend; 30"
    )


def _explain(commands):
    help = "which strategy computes each derivative of a model, and what is not verified"
    command = _command(commands, "explain", "reports.explain", help, "explain house.keras")
    _model(command)
    words = "try to export the model and each derivative of it to every format; a minute or more"
    command.add_argument("--exports", action="store_true", help=words)
    command.set_defaults(data=None)


def _compare(commands):
    help = "how long each strategy takes for the derivatives of a model, here"
    command = _command(
        commands, "compare", "reports.compare", help, "compare house.keras houses.csv"
    )
    _model(command, "optional")
    command.add_argument("--training", action="store_true", help="time training steps")


def _derive(commands):
    help = "save a model with its derivatives as further outputs"
    example = "derive house.keras -o with.keras --gradient price --laplacian bend=price/0:2"
    command = _command(commands, "derive", "models_out.derive", help, example)
    _model(command)
    command.add_argument("-o", "--output-file", dest="file", metavar="WITH.keras", required=True)
    command.add_argument("--features", metavar="NAMES", help="names of the features: area,age,…")
    for kind, words in KINDS.items():
        command.add_argument(
            f"--{kind.replace('_', '-')}",
            action="append",
            default=[],
            nargs="?",
            const="",
            metavar="[NAME=][OUTPUT][/INPUTS]",
            help=words,
        )


def _export(commands):
    help = "write a model for another runtime, and compare it there"
    example = "export house.keras -o house"
    command = _command(commands, "export", "models_out.export", help, example)
    _model(command, "optional")
    command.add_argument("-o", "--output-file", dest="file", metavar="FILE", required=True)
    words = "if left out, by the suffix: .onnx, .tflite, .xml or .pt2, and a SavedModel otherwise"
    command.add_argument("--format", choices=FORMATS, help=words)


def _demo(commands):
    help = "train a physics-informed network for Burgers' equation and draw it"
    command = _command(commands, "demo", "reports.demo", help, "demo --quick --output burgers")
    command.add_argument("--quick", action="store_true", help="a short training, of some seconds")
    command.add_argument(
        "--output", default=".", metavar="DIR", help="where to write the model and the picture"
    )
    command.add_argument("--seed", type=int, default=1, help="seed of weights and points")
