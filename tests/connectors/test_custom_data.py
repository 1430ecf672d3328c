"""The keys of an episode's custom data stand in one file, and so do the names of metrics."""

import ast
from pathlib import Path

import pytest

import rllib_vlm_reward
from rllib_vlm_reward.connectors import custom_data
from rllib_vlm_reward.monitoring import metric_names

PACKAGE = Path(rllib_vlm_reward.__file__).parent
# Words that mean something else as well: a setting's default, a signal, columns of tables.
COMMON = {
    "disagreement",
    "experts",
    "goal_code",
    "hindsight",
    "hints",
    "success",
    "vlm_return",
    "frames",
    "fires",
    "precision",
    "recall",
    "agents",
    "alarm",
    "alarms",
    "episode",
    "evaluation",
}


def names_in(module):
    """Return the strings of a module's constants."""
    given = {name: it for name, it in vars(module).items() if name.isupper()}
    return {it for it in given.values() if isinstance(it, str)}


def literals(path):
    """Yield the strings of a file that are not docstrings."""
    tree = ast.parse(path.read_text())
    docs = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def keyed(path):
    """Yield the literals by which a file looks into custom_data, or into an info."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript) and isinstance(node.value, (ast.Attribute, ast.Name)):
            yield ast.unparse(node.value), node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            yield ast.unparse(node.func.value), node.args[0]


@pytest.mark.parametrize(
    ("module", "home"),
    [(custom_data, "connectors/custom_data.py"), (metric_names, "monitoring/metric_names.py")],
)
def test_a_name_is_written_in_one_file(module, home):
    names = names_in(module) - COMMON - {"vlm_reward", "env_runners", "curriculum"}
    elsewhere = {
        (str(path.relative_to(PACKAGE)), literal)
        for path in PACKAGE.rglob("*.py")
        if str(path.relative_to(PACKAGE)) != home
        for literal in literals(path)
        if literal in names
    }
    # The signals of a curriculum have these names too.
    elsewhere -= {
        (f"curriculum/{file}.py", "ground_truth_success")
        for file in ("curriculum_config", "curriculum")
    }
    elsewhere -= {
        ("connectors/episode_goal.py", "goal_text"),  # a function, in __all__
        ("run/console.py", "env_steps_per_second"),  # a field of Progress
    }
    assert not elsewhere


def test_nobody_looks_into_custom_data_by_a_literal():
    found = [
        (path.name, where, key.value)
        for path in PACKAGE.rglob("*.py")
        for where, key in keyed(path)
        if where.endswith("custom_data") and isinstance(key, ast.Constant)
    ]
    assert not found
