"""docs/your-own-world.md from top to bottom: its files and commands, with fewer steps."""

import json
import shlex

import numpy as np
import pytest
import readers
from pages import ROOT, code_of, commands, files_of
from PIL import Image

PAGE = ROOT / "docs" / "your-own-world.md"  # "your-own-world.md"
FILES = files_of(PAGE)
COMMANDS = [command for command, _ in commands(PAGE) if command.startswith("rllib-vlm-reward")]
FEWER = {
    "num_envs_per_env_runner: 32": "num_envs_per_env_runner: 4",
    "train_batch_size_per_learner: 2048": "train_batch_size_per_learner: 128",
    "minibatch_size: 256": "minibatch_size: 64",
    "num_epochs: 4": "num_epochs: 1",
    "env_steps: 60000": "env_steps: 256",
    "evaluation_episodes: 50": "evaluation_episodes: 2",
}
SMALL = {"--frames": "2000", "--held-out-frames": "600", "--steps": "150", "--batch-size": "64"}


def run(command, **changes):
    """Run a command of the page, with other values of some options."""
    _, *words = shlex.split(command)
    for option, value in changes.items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    readers.run_here(*words)


@pytest.fixture(scope="module")
def folder(cluster, reader_folder):
    """The reader's folder, with a trained CLIP."""
    files = dict(FILES)
    for much, little in FEWER.items():
        files["run.yaml"] = files["run.yaml"].replace(much, little)
    with readers.working_in(reader_folder, files):
        run(COMMANDS[0], **SMALL)
        yield reader_folder


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_fewer_is_what_the_page_says():
    assert all(much in FILES["run.yaml"] for much in FEWER)
    assert [command.split()[1] for command in COMMANDS[:4]] == [
        "train-clip",
        "evaluate",
        "train",
        "train-clip",
    ]


def test_the_clip_knows_the_lamps(folder):
    found = metrics(folder / "clip")["held_out"]["at"]
    assert found["average_precision"] > 0.9
    assert set(metrics(folder / "clip")["statements"]["at"]) == {
        "the robot is at no lamp",
        *(
            f"the robot is at {{a|the}} {color} lamp"
            for color in ("red", "green", "blue", "yellow")
        ),
    }


def test_the_reward_is_measured_and_an_agent_trained(folder):
    run(COMMANDS[1])
    (model,) = json.loads((folder / "runs/evaluation/evaluation.json").read_text())["candidates"]
    assert model["all"]["average_precision"]["value"] > 0.8
    run(COMMANDS[2])
    summary = json.loads((folder / "runs" / "first" / "summary.json").read_text())
    assert summary["encoder"] == "clip"
    assert summary["env_steps"] >= 256


def test_a_folder_of_images_and_a_trained_clip_are_taken(folder):
    images = folder / "my_frames"
    images.mkdir()
    (table,) = code_of(PAGE, "csv")
    rng = np.random.default_rng(0)
    header, *rows = table.splitlines()
    for number in range(12):  # of the page's images, for each more episodes
        for row in rows:
            name = row.split(",")[0]
            noise = rng.integers(0, 256, (56, 56, 3), np.uint8)
            Image.fromarray(noise).save(images / f"{number}-{name}")
    again = [
        f"{number}-{row.rsplit(',', 1)[0]},{number}{row.rsplit(',', 1)[1]}"
        for number in range(12)
        for row in rows
    ]
    (images / "captions.csv").write_text("\n".join([header, *again]) + "\n")
    run(COMMANDS[3], **{"--steps": "3", "--batch-size": "8"})
    assert set(metrics(folder / "clip-of-images")["statements"]) == {"at", "light"}
