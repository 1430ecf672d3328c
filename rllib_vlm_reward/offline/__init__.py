"""How are recorded episodes rewarded? Relabelled on Ray Data, unit by unit, into another folder.

    parquet row group ─ Relabeller: episodes ─ frames, goals ─▶ RewardActor ─ scores
                      ─ the same episodes with their rewards ─▶ one parquet file a unit

* :mod:`units`: what is worked off, a row group of a file, and how much of it at once;
* :mod:`episode`: one recorded episode: its frames, its goal, its rewards;
* :mod:`folder`: what lies in the output, and whether it may be gone on with;
* :mod:`relabeller`: the class that Ray Data turns into its actors;
* :mod:`relabel`: the whole of it.
"""

from rllib_vlm_reward.offline.relabel import Progress, read_config, relabel

__all__ = ["Progress", "read_config", "relabel"]
