"""``rllib-vlm-reward relabel``: replaces the rewards of recorded episodes."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading
from rllib_vlm_reward.cli.arguments import SHIPPED, Assignments, config_path


@app.command("relabel")
def relabel_command(
    recording: Annotated[
        Path,
        typer.Argument(help="Folder of episodes that RLlib recorded.", exists=True, metavar="IN"),
    ],
    output: Annotated[
        Path, typer.Argument(help="Folder for the relabelled episodes.", metavar="OUT")
    ],
    config: Annotated[
        Path,
        typer.Option(
            help="YAML of a run, or of the section `vlm_reward` alone. " + SHIPPED,
            parser=config_path,
            metavar="CONFIG",
        ),
    ],
    goal: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Goal for every episode, one of CONFIG's goals (hindsight)."
        ),
    ] = None,
    assignments: Assignments = None,
) -> None:
    """Replace the rewards of recorded episodes, with any goals and any CLIP.

    Record IN with `config.offline_data(output=IN, output_write_episodes=True)`, with frames in
    observations or infos. Train on OUT with `config.offline_data(input_=[OUT],
    input_read_episodes=True)`. After an interruption, run the same command again: it resumes.

    The command joins the Ray cluster of RAY_ADDRESS if that is set; otherwise it starts Ray on
    this machine.

    Example:

    ```
    rllib-vlm-reward relabel IN OUT --config quickstart
    ```
    """
    from rllib_vlm_reward.config import read_config

    reward = read_config(config, assignments or ())
    say_loading()
    from rich.progress import Progress as Bar

    from rllib_vlm_reward.offline import relabel

    quiet()
    with Bar() as bar:
        task = bar.add_task("relabel", total=None)
        last = relabel(
            reward,
            recording,
            output,
            goal=goal,
            report=lambda now: bar.update(
                task,
                completed=now.finished,
                total=now.units,
                description=f"{now.episodes} episodes, {now.steps} steps",
            ),
        )
    Console().print_json(data=dataclasses.asdict(last))
    if last.unfinished:
        Console().print(
            f"{last.unfinished} episodes have no end, and RLlib cannot read them: record with "
            "batch_mode='complete_episodes'."
        )
