"""What does this machine give, and what holds a run back?

* :mod:`limit`: the bare CLIP;
* :mod:`traffic`: requests as env runners send them, without an env;
* :mod:`served`: frames/s through pool and connector, beside the limit;
* :mod:`iteration`: a run's own iterations, with its reward and without;
* :mod:`breakdown`: where the time goes;
* :mod:`tables`: that as tables and a picture;
* :mod:`bench`: all of it, behind two calls.

Import from these modules: a client's process needs ``traffic`` alone.
"""
