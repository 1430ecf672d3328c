"""What the tests' Ray starts in place of its ``setup_worker.py``, which imports Ray (2.60)."""

import argparse
import json
import os
import re
import sys
from pathlib import Path

from forked_python import ask


def main():
    """Have a worker forked; only an environment that has more than variables is left to Ray."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--serialized-runtime-env-context", dest="context", default="{}")
    parser.add_argument("--language")
    given, (worker, *words) = parser.parse_known_args()
    context = json.loads(given.context)
    variables = context.pop("env_vars", {})
    python = context.pop("py_executable", sys.executable)
    if given.language != "PYTHON" or python != sys.executable or any(context.values()):
        setup = Path(worker).with_name("setup_worker.py")
        os.execv(sys.executable, [sys.executable, str(setup), *sys.argv[1:]])
    for name, value in variables.items():
        os.environ[name] = re.sub(r"\$\{[A-Z0-9_]+\}", "", os.path.expandvars(value))
    ask(os.environ["FORK_SERVER"], "Ray's worker", *words)


if __name__ == "__main__":
    main()
