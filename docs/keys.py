"""Prints keys.md: every key of a run's YAML, as the classes' docstrings have it.

python docs/keys.py > docs/keys.md
"""

import inspect
import re
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from rllib_vlm_reward import VLMRewardConfig
from rllib_vlm_reward.config import (
    BonusConfig,
    FrameConfig,
    GoalConfig,
    HintConfig,
    HintsConfig,
    ServingConfig,
    TemplateConfig,
)
from rllib_vlm_reward.curriculum import CurriculumConfig, ProposeConfig
from rllib_vlm_reward.goals import Goal, Grammar, HeldOut, Hint, Template
from rllib_vlm_reward.policies.goal_code import GoalCodeConfig
from rllib_vlm_reward.run.experiment import Experiment, Policy, Stop
from rllib_vlm_reward.settings import Section

# Title, where the keys stand, whose keys they are, and whose docstring documents them.
PARTS: tuple[tuple[str, str, type[Section], type], ...] = (
    ("A run", "the file itself", Experiment, Experiment),
    ("When it ends", "`stop`", Stop, Stop),
    ("The policy", "`policy`", Policy, Policy),
    (
        "The goal as discrete codes",
        "`goal_code` of `policy.model_config`",
        GoalCodeConfig,
        GoalCodeConfig,
    ),
    ("The reward", "`vlm_reward`", VLMRewardConfig, VLMRewardConfig),
    ("Which frames are scored", "`vlm_reward.frames`", FrameConfig, FrameConfig),
    ("What is paid beside the goal's reward", "`vlm_reward.bonus`", BonusConfig, BonusConfig),
    ("What is paid on the way to the goal", "`vlm_reward.hints`", HintsConfig, HintsConfig),
    ("A hint in full", "an entry of the lists in `vlm_reward.hints.goals`", HintConfig, Hint),
    ("Where rewards are computed", "`vlm_reward.serving`", ServingConfig, ServingConfig),
    (
        "A goal in full",
        "an entry of `goals` or `evaluation_goals` (what is left out is its template's)",
        GoalConfig,
        Goal,
    ),
    ("A template", "an entry of `templates`", TemplateConfig, Template),
    ("Goals by a grammar", "`goals`, or the file that it names", Grammar, Grammar),
    ("What a grammar holds out", "`held_out` of a grammar", HeldOut, HeldOut),
    ("A curriculum", "`curriculum`", CurriculumConfig, CurriculumConfig),
    ("Goals that are added", "`curriculum.propose`", ProposeConfig, ProposeConfig),
)
HEAD = """\
# Every key of a run's YAML

This page lists every key that a run's YAML may have, with its default and its meaning.
[quickstart.yaml](../configs/quickstart.yaml) is an example with comments. To replace a value for
one run, pass it on the command line, with dots between the keys:

```sh
rllib-vlm-reward train quickstart --output runs/stricter \\
    --set vlm_reward.threshold=0.6
```

An unknown key is an error that names the most similar key. In `policy.model_config` this holds for
the modules of this package; what a module of your own reads is not known. The default `none` is
`null` in YAML, or an empty list or mapping.

`python docs/keys.py > docs/keys.md` writes this page from the docstrings of the classes that check
the keys.
"""


def page() -> str:
    """Return keys.md."""
    return "\n".join([HEAD, *(line for part in PARTS for line in _table(*part))])


def _table(title: str, place: str, section: type[Section], documented: type) -> Iterator[str]:
    meanings = _meanings(documented)
    inherited = {
        name for base in section.__bases__ for name in vars(base).get("__annotations__", {})
    }
    yield from (f"## {title}", "", f"Keys of {place}:", "")
    yield from ("| key | default | meaning |", "|---|---|---|")
    rows: dict[tuple[str, str], list[str]] = {}  # keys of one default and meaning share a row
    for name, field in section.model_fields.items():
        if name not in inherited:
            rows.setdefault((_default(field), meanings[name]), []).append(
                f"`{field.alias or name}`"
            )
    for (default, meaning), keys in rows.items():
        yield f"| {', '.join(keys)} | {default} | {meaning} |"
    yield ""


def _meanings(documented: type) -> dict[str, str]:
    """Return what a docstring's ``Attributes`` say of each key; keys on one line share its text."""
    text = inspect.cleandoc(documented.__doc__ or "").split("Attributes:\n")[1]
    lines = re.split(r"\n\n\S", text)[0]
    found = re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", lines, re.MULTILINE)
    return {
        name: _plain(" ".join(meaning.split()))
        for names, meaning in found
        for name in names.split(", ")
    }


def _plain(text: str) -> str:
    text = re.sub(r":\w+:`[.~]?(?:[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    return text.replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value in (None, (), {}, HeldOut()):
        return "none"
    if value == (TemplateConfig(),):
        return "the text itself"
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    return f"`{value}`".lower() if isinstance(value, bool) else f"`{value}`"


if __name__ == "__main__":
    print(page(), end="")
