"""How good is the reward? Measures rewards on frames with ground truth.

    labelled frames ─ scored frames ─ figures ─ verdict ─▶ report
                    └ calibrate ─▶ calibration        trajectory, env_states ─▶ landscape

* :mod:`labelled`: frames with goals and ground truth, as Parquet;
* :mod:`players`: the env of a run and its players; :mod:`collect`: labelled frames from play;
* :mod:`images`: encoded images; :mod:`image_table`: the table beside them;
  :mod:`image_folder`: labelled frames from both;
* :mod:`models`: loads each encoder once;
* :mod:`scored_frames`: labelled frames with the scores of one reward; :mod:`goal_accuracy`: does
  the score distinguish the goals?
* :mod:`figures`: figures of scored frames, with intervals; :mod:`user_metrics`: a user's metrics;
  :mod:`verdict`: one word and a few sentences on a reward;
* :mod:`evaluate`: evaluates several rewards on the same frames;
  :mod:`reward_charts`, :mod:`report`: the charts and files of an evaluation;
* :mod:`cosines`: cosines of frames with all statements; :mod:`calibrate`: β and τ for a target;
  :mod:`trust`: whom of several experts to trust;
* :mod:`trajectory`: one episode; :mod:`env_states`: an env's states; :mod:`landscape`: the
  scores of both, and charts of them;
* :mod:`score`: scores of image files.
"""
