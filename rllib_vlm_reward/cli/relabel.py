"""``rllib-vlm-reward relabel``: recorded episodes, rewarded anew."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading


@app.command("relabel")
def relabel_command(
    recording: Annotated[
        Path,
        typer.Argument(help="Folder of RLlib's recorded episodes.", exists=True, metavar="IN"),
    ],
    output: Annotated[
        Path, typer.Argument(help="Folder of the relabelled episodes.", metavar="OUT")
    ],
    config: Annotated[
        Path,
        typer.Option(
            help="A run's YAML, of which `vlm_reward` counts, or the keys of that alone.",
            exists=True,
            dir_okay=False,
            metavar="CONFIG.yaml",
        ),
    ],
    goal: Annotated[
        str | None, typer.Option(help="One of the goals, for every episode (hindsight).")
    ] = None,
) -> None:
    """Reward recorded episodes anew, with any goals and any CLIP.

    IN is what `config.offline_data(output=IN, output_write_episodes=True)` recorded, with frames
    in observations or infos. OUT is for `config.offline_data(input_=[OUT],
    input_read_episodes=True)`. Killed, the same command goes on where it was.

    Joins the Ray cluster of RAY_ADDRESS if that is set, else starts Ray on this machine.

    Example: `rllib-vlm-reward relabel recorded relabelled --config configs/quickstart.yaml`
    """
    say_loading()
    from rich.progress import Progress as Bar

    from rllib_vlm_reward.offline import read_config, relabel

    quiet()
    with Bar() as bar:
        task = bar.add_task("relabel", total=None)
        last = relabel(
            read_config(config),
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
            f"{last.unfinished} episodes are chunks without an end, which RLlib refuses to read: "
            "record with batch_mode='complete_episodes'."
        )
