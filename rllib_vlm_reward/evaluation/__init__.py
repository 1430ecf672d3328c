"""How good is the reward? Frames with ground truth, and the scores that rewards give them.

    labelled frames ─ scored frames ─ figures ─ verdict ─▶ report
                    └ calibrate ─▶ calibration        trajectory, grid ─▶ landscape

* :mod:`labelled`: frames with goals and ground truth, as Parquet;
* :mod:`players`: a run's env and who plays there; :mod:`collect`: labelled frames from play;
* :mod:`images`: encoded images; :mod:`image_folder`: labelled frames from a folder of images;
* :mod:`models`: loads each encoder once;
* :mod:`scored_frames`: labelled frames with the scores of one reward; :mod:`goal_accuracy`: does
  the score tell one goal from another?
* :mod:`figures`: figures of scored frames, with intervals; :mod:`user_metrics`: a user's metrics;
  :mod:`verdict`: a word and a sentence;
* :mod:`evaluate`: rewards side by side;
  :mod:`reward_charts`, :mod:`report`: what an evaluation leaves;
* :mod:`cosines`: frames against every statement; :mod:`calibrate`: β and τ for a target;
* :mod:`trajectory`: one episode; :mod:`grid`: an env's states; :mod:`landscape`: scores of these,
  and their charts;
* :mod:`score`: scores of image files.
"""
