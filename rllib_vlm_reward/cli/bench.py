"""``rllib-vlm-reward bench``: measures the throughput of a machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading
from rllib_vlm_reward.cli.arguments import (
    SHIPPED,
    Assignments,
    check_ending,
    check_writable,
    config_path,
)


@app.command("bench")
def bench_command(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="YAML of a run to time, with env and learner. " + SHIPPED,
            parser=config_path,
            metavar="CONFIG",
        ),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="CLIP to time when no CONFIG is given.")
    ] = None,
    frame: Annotated[
        str, typer.Option(metavar="HxW", help="Height and width of the frames.")
    ] = "224x224",
    runners: Annotated[int, typer.Option(help="Env runners; one process for each.")] = 2,
    actors: Annotated[int, typer.Option(help="Reward actors.")] = 1,
    request: Annotated[
        int, typer.Option(help="Frames in a request: one for each sub-env of an env runner.")
    ] = 16,
    seconds: Annotated[float, typer.Option(help="Duration of each measurement.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Save a PNG of where the time goes."),
    ] = None,
    assignments: Assignments = None,
) -> None:
    """Measure the throughput of this machine, and find the bottleneck of a run.

    With CONFIG, the command times some iterations of the run, with the run's reward and with a
    reward that costs nothing; --frame, --runners, --actors and --request then come from the run.
    Without it, the command times the CLIP of --encoder alone, and with clients that send frames
    as env runners do.

    The command joins the Ray cluster of RAY_ADDRESS if that is set; otherwise it starts Ray on
    this machine.

    Examples:

    ```
    rllib-vlm-reward bench quickstart
    rllib-vlm-reward bench --encoder ViT-B-32/random --frame 480x480 --runners 4
    ```
    """
    if config is None and assignments:
        raise typer.BadParameter("--set replaces a value of CONFIG: give CONFIG, or leave it out.")
    if picture is not None:
        check_writable(picture)
        check_ending(picture, ".png")
    say_loading(config, assignments)
    from rllib_vlm_reward.bench.bench import bench_load, bench_run
    from rllib_vlm_reward.bench.served import read_load
    from rllib_vlm_reward.bench.tables import save_picture, tables

    quiet()
    say = Console(stderr=True).print
    if config is not None:
        from rllib_vlm_reward.run import Experiment

        breakdown = bench_run(
            Experiment.from_file(config, assignments or ()), seconds=seconds, report=say
        )
    else:
        load = read_load(
            encoder, frame, runners=runners, actors=actors, request=request, seconds=seconds
        )
        breakdown = bench_load(load, report=say)
    if picture is not None:
        save_picture(picture, breakdown)
    if as_json:
        Console().print_json(data=breakdown.to_dict())
    else:
        Console().print(tables(breakdown))
