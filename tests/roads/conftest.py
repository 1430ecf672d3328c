from painted_fixtures import red_pool, shared_pool, vlm_config  # noqa: F401
