"""The help of each command fits a terminal, and its examples are commands that can be typed."""

import re
import shlex

import pytest
import typer.main
from typer.testing import CliRunner

import rllib_vlm_reward
from rllib_vlm_reward.cli import app
from rllib_vlm_reward.settings import shipped_configs

COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns_and_cuts_nothing_off(name):
    ran = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert ran.exit_code == 0
    assert max(map(len, ran.output.splitlines())) <= 80
    assert "…" not in ran.output


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_have_options_that_the_command_takes(name):
    text = COMMANDS[name].help.replace("\\\n", " ")
    examples = re.findall(r"rllib-vlm-reward ([\w-]+) ([^`\n]*(?:\n +--[^`\n]*)*)", text)
    assert examples
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    for command, arguments in examples:
        assert command == name
        given = {word for word in shlex.split(arguments) if word.startswith("--")}
        assert given <= known


def test_every_option_says_what_it_does():
    silent = {
        f"{name} {parameter.name}"
        for name, command in COMMANDS.items()
        for parameter in command.params
        if not parameter.help
    }
    assert silent == set()


@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"play", "train-clip"}))
def test_every_command_lists_the_shipped_configs_where_it_knows_no_such(name):
    by_option = any("--config" in parameter.opts for parameter in COMMANDS[name].params)
    ran = CliRunner().invoke(app, [name, *(["--config"] if by_option else []), "quickstat"])
    assert ran.exit_code == 2
    message = " ".join(ran.output.replace("│", "").split())
    assert f"package: {', '.join(shipped_configs())}." in message


def test_the_version_is_printed():
    ran = CliRunner().invoke(app, ["--version"])
    assert (ran.exit_code, ran.output) == (0, f"rllib-vlm-reward {rllib_vlm_reward.__version__}\n")
