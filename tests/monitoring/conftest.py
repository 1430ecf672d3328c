from painted_fixtures import vlm_config  # noqa: F401
