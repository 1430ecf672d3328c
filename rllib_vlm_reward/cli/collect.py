"""``rllib-vlm-reward collect``: collects frames with ground truth."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Column, Table

from rllib_vlm_reward.cli.app import app, quiet, say_loading
from rllib_vlm_reward.cli.arguments import SHIPPED, Assignments, check_output, config_path

if TYPE_CHECKING:
    from rllib_vlm_reward.evaluation.labelled import LabelledFrames
    from rllib_vlm_reward.run import Experiment


@app.command("collect")
def collect_command(
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="Parquet file to write; it must not exist.")
    ],
    config: Annotated[
        Path | None,
        typer.Argument(
            help="YAML of a run whose env is played. " + SHIPPED,
            parser=config_path,
            metavar="CONFIG",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of labelled images, to import instead of playing an env. Its metadata.csv "
            "has the columns file_name, goal, label.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    allow_outside: Annotated[
        bool,
        typer.Option(
            "--allow-outside",
            help="With --folder: also read images that file_name places outside of DIR.",
        ),
    ] = False,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of each player.")] = 100,
    player: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Who plays: random, expert, or the folder of a run. Repeatable. By default "
            "random, and expert if the env has one.",
        ),
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Request the run's evaluation_goals, in turn.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of layouts and random actions.")] = 0,
    assignments: Assignments = None,
) -> None:
    """Collect frames with their goals and ground truth, to measure a reward with.

    The command plays the env of CONFIG, whose infos must report success, or imports the images of
    --folder. FILE is Parquet with one row for each frame, which Hugging Face's datasets reads.

    Example:

    ```
    rllib-vlm-reward collect quickstart --output runs/frames.parquet
    ```
    """
    if (config is None) == (folder is None):
        raise typer.BadParameter(
            "give either CONFIG, to play an env, or --folder, to import images."
        )
    if config is None and assignments:
        raise typer.BadParameter("--set replaces a value of CONFIG: leave it out with --folder.")
    check_output(output)
    from rllib_vlm_reward.evaluation.labelled import check_labels

    families = {}
    if folder is not None:
        from rllib_vlm_reward.evaluation.image_folder import read_folder

        frames = read_folder(folder, allow_outside=allow_outside)
    else:
        say_loading(config, assignments)
        from rllib_vlm_reward.run import Experiment

        quiet()
        assert config is not None
        experiment = Experiment.from_file(config, assignments or ())
        families = {goal.text: goal.family for goal in experiment.vlm_reward.goal_set.goals}
        frames = _play(experiment, player, episodes, seed, held_out=held_out)
    check_labels(frames)
    frames.save(output)
    Console().print(_table(frames, families))
    Console(soft_wrap=True).print(f"{output} holds {len(frames)} frames.", markup=False)


def _play(
    experiment: "Experiment",
    players: list[str] | None,
    episodes: int,
    seed: int,
    *,
    held_out: bool,
) -> "LabelledFrames":
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from rllib_vlm_reward.evaluation.collect import collect

    with Bar(console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def report(player: str, finished: int) -> None:
            if player not in tasks:
                tasks[player] = bar.add_task(player, total=episodes)
            bar.update(tasks[player], completed=finished)

        return collect(
            experiment,
            players=players,
            episodes=episodes,
            seed=seed,
            held_out=held_out,
            report=report,
        )


def _table(frames: "LabelledFrames", families: Mapping[str, str]) -> Table:
    """Count by player and family, or by player and goal if there are no families."""
    goals = [families.get(goal, goal) for goal in frames.goals]
    kinds = np.array([*zip(frames.players, goals, strict=True)])
    episodes = np.array(frames.episodes)
    names = (Column(name, overflow="fold") for name in ("player", "goals"))
    table = Table(*names, "frames", "successes", "episodes")
    for player, goal in dict.fromkeys(map(tuple, kinds.tolist())):
        rows = (kinds == (player, goal)).all(axis=1)
        numbers = rows.sum(), frames.labels[rows].sum(), len(np.unique(episodes[rows]))
        table.add_row(player or "imported", goal, *map(str, numbers))
    return table
