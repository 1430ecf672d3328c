"""Relabels recorded episodes: computes their rewards on Ray Data, and writes them to a folder.

    parquet row group ─ Relabeller: episodes ─ frames, goals ─▶ RewardActor ─ scores
                      ─ the same episodes with their rewards ─▶ one parquet file for each unit

* :mod:`units`: the units of work: the row groups of the recorded files;
* :mod:`episode`: one recorded episode: its frames, its goal, its rewards;
* :mod:`folder`: the output folder, and the check whether a run can be resumed in it;
* :mod:`relabeller`: the class that Ray Data runs in its actors;
* :mod:`relabel`: relabels a whole recording.
"""

from rllib_vlm_reward.offline.relabel import Progress, relabel

__all__ = ["Progress", "relabel"]
