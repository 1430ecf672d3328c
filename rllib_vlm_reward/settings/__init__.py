"""Settings: YAML, sections with checked keys, and import paths."""

from rllib_vlm_reward.settings.config_file import find_config, home_path, shipped_configs
from rllib_vlm_reward.settings.import_path import import_path_of, load_object
from rllib_vlm_reward.settings.section import (
    Positive,
    Section,
    check_number,
    declare_keys,
    excerpt,
    key_hint,
    messages,
    validated,
)
from rllib_vlm_reward.settings.yaml_reader import (
    assign_settings,
    dump_settings,
    parse_settings,
    read_settings,
)

__all__ = [
    "Positive",
    "Section",
    "assign_settings",
    "check_number",
    "declare_keys",
    "dump_settings",
    "excerpt",
    "find_config",
    "home_path",
    "import_path_of",
    "key_hint",
    "load_object",
    "messages",
    "parse_settings",
    "read_settings",
    "shipped_configs",
    "validated",
]
