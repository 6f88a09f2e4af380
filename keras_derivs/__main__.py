"""The command line: `python -m keras_derivs demo`."""

import argparse

from keras_derivs import demo


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m keras_derivs", description="Derivatives inside Keras models."
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    command = commands.add_parser(
        "demo",
        help="train a physics-informed network for Burgers' equation and draw it",
        description="Train a physics-informed network for Burgers' equation, compare it with the "
        "exact solution, save and reload it, and draw it.",
    )
    command.add_argument("--quick", action="store_true", help="a short training, of some seconds")
    command.add_argument(
        "--output", default=".", metavar="DIR", help="where to write the model and the picture"
    )
    command.add_argument("--seed", type=int, default=1, help="seed of weights and points")
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return
    demo.run(chosen.output, chosen.quick, chosen.seed)


if __name__ == "__main__":
    main()
