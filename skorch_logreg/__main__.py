"""Command line: fit a table, compare with scikit-learn's LogisticRegression, and predict.

skorch-logreg                                  example data of scikit-learn
skorch-logreg FILE --target COLUMN             your own CSV or Parquet file
skorch-logreg FILE --target COLUMN --save model.skops
skorch-logreg --model model.skops --predict OTHER.csv > predictions.csv

`python -m skorch_logreg` is the same command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from skorch_logreg.command import files, job
from skorch_logreg.command.errors import CommandError
from skorch_logreg.command.options import parse
from skorch_logreg.command.report import Report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` or the arguments of the process, and return its exit code.

    The code is 0, 2 for an error in the input, with a message on stderr, or 130 if interrupted.
    """
    options = parse(argv)
    report = Report(to_stderr=options.predict is not None and options.output is None)
    try:
        if options.model is not None:
            model = files.load_model(options.model)
        elif options.file is not None:
            model = job.fit_table(options, report)
        else:
            model = job.fit_example(options, report)
        if options.predict is not None:
            job.write_predictions(model, options, report)
        sys.stdout.flush()
    except CommandError as error:
        print(f"skorch-logreg: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the pipe, such as `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("skorch-logreg: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
