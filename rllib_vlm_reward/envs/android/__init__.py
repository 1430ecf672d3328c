"""A phone with goals in words and ground truth from adb, on AndroidEnv.

    phone (drawn, or an emulator) ─ AndroidEnv's coordinator ─ env: frame, goal, success ─▶ RLlib
    apps, icons, screens ─▶ launcher ─▶ the drawn phone's screenshots

* :mod:`env`: the env;
* :mod:`actions`: its actions, and the touches of each;
* :mod:`goal`: reads a goal's text;
* :mod:`captions`: the statements that are true of a screen;
* :mod:`plan`: the shortest way to success, for the expert;
* :mod:`phone`: the drawn phone, a simulator of AndroidEnv;
* :mod:`launcher`: where the icons are in an episode;
* :mod:`apps`: the apps, and how they look;
* :mod:`screens`, :mod:`icons`, :mod:`pen`: draw them;
* :mod:`emulator`: where a real emulator is.

The room needs the extra ``rllib-vlm-reward[android]``.
"""

import importlib.util

from rllib_vlm_reward.errors import ConfigError

__all__: list[str] = []

for _package in ("android_env", "immutabledict"):
    if importlib.util.find_spec(_package) is None:
        raise ConfigError(
            f"rllib_vlm_reward/Android-v0: the package {_package} is not installed. Run: pip "
            'install "rllib-vlm-reward[android]"'
        )
