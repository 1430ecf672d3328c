"""A house of textured rooms, seen through the agent's eyes, with goals in words and ground truth.

    floor_plan, things ─ layout: a new house ─▶ scene: the state, and what actions change
        ─ renderer: frames ─▶ env: frame, goal, success ─▶ RLlib
        ─ ground_truth, expert, captions ─▶ labels for evaluation and pretraining

Only :mod:`opengl` needs MiniWorld, of the extra ``[house]``; it imports it when an env is made.

* :mod:`env`: the env, and the functions that create it for gymnasium;
* :mod:`mission`: reads a goal's text;
* :mod:`things`: the kinds of things;
* :mod:`floor_plan`: rooms, doors and walls;
* :mod:`layout`: draws a house with things and an agent;
* :mod:`scene`: the state, and what each action changes;
* :mod:`camera`: what the agent sees, computed from the state;
* :mod:`ground_truth`: near, next to, and success;
* :mod:`grid`: where the agent can stand, and how far it has to walk;
* :mod:`expert`: plans the actions to a goal;
* :mod:`captions`: the statements that a frame shows;
* :mod:`renderer`: draws a scene;
* :mod:`opengl`: MiniWorld's meshes and textures in one OpenGL context a process.
"""
