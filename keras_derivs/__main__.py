"""The command line: `python -m keras_derivs`."""

import sys

from keras_derivs.cli import main

if __name__ == "__main__":
    sys.exit(main())
