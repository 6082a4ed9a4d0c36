"""Command line: fit a table, compare with scikit-learn's LogisticRegression, and predict.

python -m skorch_logreg                                  example data of scikit-learn
python -m skorch_logreg FILE --target COLUMN             your own CSV or Parquet file
python -m skorch_logreg FILE --target COLUMN --save model.skops
python -m skorch_logreg --model model.skops --predict OTHER.csv > probabilities.csv
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from skorch_logreg.command import files, job
from skorch_logreg.command.errors import CommandError
from skorch_logreg.command.options import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` or the arguments of the process, and return its exit code.

    The code is 0, 2 for an error in the input, with a message on stderr, or 130 if interrupted.
    """
    options = parse(argv)
    try:
        if options.model is not None:
            model = files.load_model(options.model)
        elif options.file is not None:
            model = job.fit_table(options)
        else:
            model = job.fit_example(options)
        if options.predict is not None:
            job.write_probabilities(model, options.predict, options.output)
        sys.stdout.flush()
    except CommandError as error:
        print(f"skorch_logreg: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the pipe, such as `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("skorch_logreg: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
