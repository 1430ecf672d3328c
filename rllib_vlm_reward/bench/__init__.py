"""What does this machine give, and what holds a run back?

* :mod:`limit`: the bare CLIP;
* :mod:`client`: an env runner's share of the work, without an env;
* :mod:`served`: frames/s through pool and connector, beside the limit;
* :mod:`iteration`: a run's own iterations, with its reward and without;
* :mod:`verdict`: where the time goes;
* :mod:`display`: tables and a picture;
* :mod:`bench`: all of it, behind two calls.

Import from these modules: a client's process needs ``client`` alone.
"""
