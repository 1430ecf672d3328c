"""What may stand in a YAML file: good settings, and values of every kind to put in their place."""

import datetime
import itertools

from hypothesis import strategies as st

GOAL = {
    "text": "see a box",
    "prompt": "a box",
    "negatives": ["a room", "a wall"],
    "baseline": "a door",
    "family": "sight",
    "difficulty": 2,
}
REWARD = {
    "encoder": "small",
    "goals": ["see a {red|blue} {ball|key}", "see a lamp", GOAL],
    "evaluation_goals": ["see a cup"],
    "templates": [{"goal": "see {}", "prompt": "{}", "nothing": "empty", "family": "sight"}],
    "negatives": ["an empty room"],
    "num_negatives": 1,
    "negatives_seed": 3,
    "baseline": "the start",
    "head": {"kind": "softmax", "temperature": 0.1},
    "threshold": 0.5,
    "frames": {"source": "obs", "scored_steps": 2, "window": 3, "reduce": "max", "still": True},
    "mode": "synchronous",
    "early_end": True,
    "normalize_rewards": True,
    "env_reward_weight": 0.5,
    "goal_source": "obs:goal",
    "success_key": "success",
    "goal_embedding": True,
    "serving": {
        "precision": "fp32",
        "cache_frames": 10,
        "num_actors": 1,
        "max_actors": 2,
        "num_gpus_per_actor": 0.5,
        "num_cpus_per_actor": 1,
        "max_batch_size": 8,
        "max_in_flight": 4,
        "timeout_s": 5,
        "pool_name": "mine",
    },
    "agents": {"a": {"threshold": 0.25, "frames": {"window": 1}}, 1: None},
    "alarms": "error",
    "stalled_seconds": 60,
    "may_change": True,
}
PATCHES = {
    "encoder": "grounded",
    "goals": ["lift the {red|blue} {ball|key}"],
    "templates": [{"goal": "lift {}", "prompt": "the agent is carrying {}", "noun": "{}"}],
    "mode": "synchronous",
    "goal_embedding": True,
    "goal_map": [7, 7],
    "bonus": {
        "kind": "focal",
        "weight": 0.5,
        "centre": [0.5, 1.0],
        "nothing": ["a wall"],
        "argmax": True,
        "binary": 0.5,
        "potential": True,
    },
    "hints": {
        "goals": {
            "lift {}": ["the agent is facing {0}", {"statement": "near", "nothing": "far away"}]
        },
        "weight": 0.5,
        "decay": "rnd",
        "repeatable": True,
        "threshold": 0.5,
    },
}
PANEL = {
    "goals": ["a {red|blue} {ball|key}"],
    "experts": {
        "large": {"encoder": "base", "serving": {"timeout_s": 10, "precision": "fp32"}},
        "small": {
            "encoder": "small",
            "head": {"kind": "softmax", "temperature": 0.05},
            "templates": [{"goal": "a {}", "prompt": "the {}"}],
            "frames": {"source": "info:crop"},
        },
    },
    "combine": "noisy_or",
    "frames": {"source": "obs"},
}
GRAMMAR = {
    "goals": ["see a {color} {kind}"],
    "words": {"color": ["red", "blue"], "kind": ["ball", "key"]},
    "paraphrases": ["look at a {color} {kind}"],
    "held_out": {"pairs": [["red", "ball"]]},
}


def keys_in(value):
    if isinstance(value, dict):
        yield from itertools.chain(value, *map(keys_in, value.values()))
    elif isinstance(value, list):
        yield from itertools.chain(*map(keys_in, value))


KEYS = sorted(
    {*map(str, keys_in([REWARD, PATCHES, PANEL, GRAMMAR])), "env_steps", "temperature", "alpha"}
)
SPECIAL = [
    *("", " ", "\n", "\t", "\0", "a\0b", "~", "~nobody-here/goals.yaml", ".", "/", "no/such.yaml"),
    *("{", "}", "{a|b", "{a|b}", "{a,b}", "[a|b]", "a|b", "{}", "{{}}", "{color} {kind}", "{0}"),
    *("{a|b}" * 22, "{|}", "see a  LAMP", "yes", "no", "on", "null", "1", "1e-3", "0x10", "1_000"),
    *("150,000", "nan", "inf", "-inf", "1:30", "2024-02-30", "tune.choice([1])", "a: b", "# a"),
    *("*", "&a", "!x", "%", "@", "`", "'", '"', "\\", "é", "日本", "🤖", "\u202e", "\ud800"),
    *(
        "\x85",
        "os.system",
        "math.pi",
        "no.such.thing",
        "info:",
        "obs:",
        "render",
        "softmax",
        "cosine",
    ),
    *("small/random", "ViT-B-32/random", "sigmoid", "goal_baseline", "dense", "a" * 5000),
]
texts = st.sampled_from(SPECIAL) | st.text(max_size=12) | st.text("{}|[]a ", max_size=8)
numbers = st.sampled_from(
    [
        *(0, -0.0, 1, -1, 2, 0.5, 1.5, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
        *(2**31, 2**63, -(2**63) - 1, 10**30, 10**400),
    ]
)
scalars = (
    texts
    | numbers
    | st.integers()
    | st.floats()
    | st.sampled_from([None, True, False, b"bytes", datetime.date(2024, 2, 29)])
)
keys = st.sampled_from(KEYS) | texts | st.sampled_from([0, 1, True, None, 1.5])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
) | st.sampled_from([["see a cup"] * 9, [f"see {n}" for n in range(300)], list(range(200))])


def places(value, at=()):
    """Yield the path of each value within a configuration."""
    yield at
    pairs = value.items() if isinstance(value, dict) else ()
    pairs = enumerate(value) if isinstance(value, list) and len(value) < 10 else pairs
    for key, inner in pairs:
        yield from places(inner, (*at, key))


def look_up(value, path):
    for key in path:
        value = value[key]
    return value
