"""How good is the reward? Labelled frames, and what a reward says of them.

    labelled frames ─ scored ─ figures ─ verdict ─▶ report
                    └ threshold ─▶ calibration          trajectory, grid ─ landscape ─▶ drawing

* :mod:`labelled`: frames with their goals and the truth, as Parquet;
* :mod:`stage`: a run's env; :mod:`collect`: played there; :mod:`imported`: from a folder of images;
* :mod:`models`: each CLIP loaded once;
* :mod:`scored`: as one reward scores them; :mod:`goal_accuracy`: is one goal told from another?
* :mod:`figures`: how good that is, with intervals; :mod:`verdict`: in a word and a sentence;
* :mod:`evaluate`: rewards side by side; :mod:`pictures`, :mod:`mistakes`, :mod:`report`,
  :mod:`save`: what is left of it;
* :mod:`cosines`: frames against every statement; :mod:`threshold`, :mod:`calibrate`: β and τ for a
  target;
* :mod:`trajectory`: one episode; :mod:`grid`: an env's states; :mod:`landscape`: what rewards say
  of them; :mod:`drawing`: what that looks like.
"""
