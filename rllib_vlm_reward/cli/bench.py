"""``rllib-vlm-reward bench``: what a machine gives."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading


@app.command("bench")
def bench_command(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="YAML of a run, to time its own env and learner too.",
            exists=True,
            dir_okay=False,
            metavar="[CONFIG.yaml]",
        ),
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="A CLIP, in place of a run.")] = None,
    frame: Annotated[str, typer.Option(metavar="HxW", help="Size of the frames.")] = "224x224",
    runners: Annotated[int, typer.Option(help="Env runners, a process each.")] = 2,
    actors: Annotated[int, typer.Option(help="Reward actors.")] = 1,
    request: Annotated[int, typer.Option(help="Frames of a request: sub-envs of a runner.")] = 16,
    seconds: Annotated[float, typer.Option(help="Of each measurement.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the shares.")] = None,
) -> None:
    """Measure what this machine gives, where the time goes, and what holds a run back.

    With CONFIG.yaml, a few of the run's own iterations are timed, with its reward and with one
    that costs nothing, and the other options but --seconds are the run's. Without, the CLIP of
    --encoder is timed alone, and with clients that send frames as env runners do.

    Joins the Ray cluster of RAY_ADDRESS if that is set, else starts Ray on this machine.

    Examples: `rllib-vlm-reward bench configs/quickstart.yaml`,
    `rllib-vlm-reward bench --encoder ViT-B-32/random --frame 480x480 --runners 4`
    """
    say_loading()
    from rllib_vlm_reward.bench.bench import bench_load, bench_run
    from rllib_vlm_reward.bench.served import read_load
    from rllib_vlm_reward.bench.tables import save_picture, tables

    quiet()
    say = Console(stderr=True).print
    if config is not None:
        from rllib_vlm_reward.run import Experiment

        found = bench_run(Experiment.from_file(config), seconds=seconds, report=say)
    else:
        load = read_load(
            encoder, frame, runners=runners, actors=actors, request=request, seconds=seconds
        )
        found = bench_load(load, report=say)
    if picture is not None:
        save_picture(picture, found)
    if as_json:
        Console().print_json(data=found.to_dict())
    else:
        Console().print(tables(found))
