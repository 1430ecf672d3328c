"""What the tests' Ray starts as a worker."""

import os
import sys

from forked_python import ask

if __name__ == "__main__":
    ask(os.environ["FORK_SERVER"], "Ray's worker", *sys.argv[1:])
