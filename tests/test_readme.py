"""What the README promises, as far as it is quick to see."""

import re
from pathlib import Path

import pytest
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_configures_an_algorithm():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    built = []
    code, trains = code.split(".build_algo()")
    assert "algorithm.train()" in trains
    exec(f"{code}\nbuilt.append(algorithm)", {"built": built})
    (config,) = built
    assert isinstance(config, AlgorithmConfig)
    assert config.num_env_runners == 1  # a laptop's
    assert len(config.callbacks_class) == 1


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_file_that_it_links_to_exists(page):
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", text)
    links += re.findall(r'src="([^"]+)"', text)
    assert links
    assert all((ROOT / link).exists() for link in links), links


def test_every_file_of_the_table_of_changes_exists():
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("| to change | open |")[2].partition("\n\n")[0]
    named = 0
    for row in table.splitlines()[2:]:
        folder = ROOT
        for path in re.findall(r"`([\w/]+(?:\.py|/))`", row):
            found = ROOT / path if "/" in path else folder / path
            assert found.exists(), row
            folder = found if found.is_dir() else found.parent
            named += 1
    assert named > 40


def test_the_test_command_is_the_one_that_ci_calls():
    assert "<!-- test -->" in (ROOT / ".ci" / "run").read_text()
    assert re.search(r"<!-- test -->\n```sh\n.*pytest\n```", README)
