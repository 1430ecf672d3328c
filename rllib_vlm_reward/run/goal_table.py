"""The table of all goals at the end of a run whose goals grew."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_vlm_reward.files import write_text

__all__ = ["save_goals"]

_COLUMNS = (
    "goal",
    "proposed_by",
    "since",
    "episodes",
    "mean",
    "progress",
    "first_success",
    "weight",
)


def save_goals(path: Path, curriculum: Mapping[str, Any]) -> None:
    """Write a CSV file with a row for each training goal, those of the configuration first.

    The columns are ``goal``; ``proposed_by``, and ``since`` which iteration; ``episodes``; the
    ``mean`` of the signal and its ``progress``; ``first_success``, in env steps; and the last
    ``weight``. What is not known is empty.

    Args:
        path: the file.
        curriculum: the state of the curriculum, see :func:`.curriculum_progress`.

    Example:
        >>> import tempfile
        >>> row = {"proposed_by": "grammar", "since": 5, "episodes": 2, "mean": 0.5, "weight": 1.0}
        >>> row |= {"progress": None, "first_success": 640}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_goals(Path(folder, "goals.csv"), {"goals": {"a red ball": row}})
        ...     print(Path(folder, "goals.csv").read_text())
        goal,proposed_by,since,episodes,mean,progress,first_success,weight
        a red ball,grammar,5,2,0.5,,640,1.0
        <BLANKLINE>
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for goal, row in curriculum["goals"].items():
        writer.writerow({"goal": goal, **row})
    write_text(path, text.getvalue())
