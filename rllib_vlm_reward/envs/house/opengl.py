"""MiniWorld's meshes and textures in one OpenGL context a process, without a display."""

import contextlib
import functools
import importlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from rllib_vlm_reward.envs.house.floor_plan import FLOORS, WALLS
from rllib_vlm_reward.envs.house.things import COLORS, KINDS, Kind
from rllib_vlm_reward.errors import ConfigError

__all__ = ["OpenGL", "open_gl"]

INSTALL = 'pip install "rllib-vlm-reward[house]"'
SYSTEM = "apt-get install libgl1 libglu1-mesa libegl1 libfontconfig1"

TEXTURE_SIDE = 256  # MiniWorld's have up to 1024, of which a frame of 64 pixels shows nothing
TEXELS_PER_METRE = 512  # of MiniWorld's own size
SAMPLES = 4  # a pixel; Mesa's software renderer has no more
RIBBON = (1.0, 1.0, 1.0)
# Meshes so thin that hardly anything is seen of them from above or from the side.
THICKER = {"key": 2, "keycard": 5}


@functools.cache
def open_gl() -> "OpenGL":
    """Return this process's OpenGL context; the first call opens it and loads all things.

    Raises:
        ConfigError: MiniWorld is not installed, or the system has no OpenGL.
    """
    return OpenGL()


class OpenGL:
    """The context, and a display list of each kind of thing.

    MiniWorld gives each env a window, and with it tens of MB that closing does not free. Its envs
    also share the number 1 for the display list of their walls, so that one env draws another's.
    Here all envs of a process draw in one context, with lists of their own.

    Attributes:
        gl: the module ``pyglet.gl``.
        kinds: the number of each kind's display list, by name. A list draws the thing at its
            size, with the middle of its base at the origin.
        textures: of walls and floors, by name: the ``id`` and the sides in ``metres``.

    Raises:
        ConfigError: see :func:`open_gl`.
    """

    def __init__(self) -> None:
        # Mesa's threads are not in a forked process, which would wait for them for ever.
        os.environ.setdefault("LP_NUM_THREADS", "0")
        # torch imports triton when it makes an optimizer. Both triton 3.8 and Mesa bring LLVM, and
        # triton's crashes if Mesa's was loaded first.
        with contextlib.suppress(ImportError):
            importlib.import_module("triton")
        pyglet = _import("pyglet")
        # Before `pyglet.gl` is imported, which opens a window otherwise.
        pyglet.options.update(headless=True, debug_gl=False, shadow_window=False, audio=("silent",))
        self.gl: Any
        try:
            self.gl = _import("pyglet.gl")
            self._window: Any = _import("pyglet.window").Window(width=1, height=1, visible=False)
        except ConfigError:
            raise
        except Exception as error:  # an ImportError or one of pyglet's, by what the system lacks
            raise ConfigError(
                f"the house: OpenGL cannot be opened ({type(error).__name__}: {error}), expected "
                f"the system packages of Mesa. Run: {SYSTEM}"
            ) from error
        self._opengl: Any = _import("miniworld.opengl")
        self._meshes: Any = _import("miniworld.objmesh")
        self._path: Any = _import("miniworld.utils").get_file_path
        self._buffers: dict[int, Any] = {}
        self.textures: dict[str, SimpleNamespace] = {}
        self.use()
        self._set_up()
        # All at once, or the first episodes would wait for each texture and mesh that is new.
        for name in (*WALLS, *FLOORS):
            self.textures[name] = self._load(self._path("textures", f"{name}_1", "png"))
        self.kinds = {name: self._compile(kind) for name, kind in KINDS.items()}

    def use(self) -> None:
        """Make the context the current one; another library may have one of its own."""
        self._window.switch_to()

    def buffer(self, size: int) -> Any:
        """Return MiniWorld's frame buffer of so many pixels a side."""
        if size not in self._buffers:
            self.use()
            # It prints that it takes fewer samples.
            with contextlib.redirect_stdout(io.StringIO()):
                self._buffers[size] = self._opengl.FrameBuffer(size, size, SAMPLES)
        return self._buffers[size]

    @contextlib.contextmanager
    def compiled(self) -> Iterator[int]:
        """Collect what is drawn within into a new display list; yield its number."""
        number = self.gl.glGenLists(1)
        self.gl.glNewList(number, self.gl.GL_COMPILE)
        yield number
        self.gl.glEndList()

    def _set_up(self) -> None:
        gl = self.gl
        for switch in ("DEPTH_TEST", "CULL_FACE", "LIGHTING", "LIGHT0", "COLOR_MATERIAL"):
            gl.glEnable(getattr(gl, f"GL_{switch}"))
        # Meshes are scaled, and their normals with them: a small ball would be too bright.
        gl.glEnable(gl.GL_NORMALIZE)
        gl.glShadeModel(gl.GL_SMOOTH)
        gl.glLightModelfv(gl.GL_LIGHT_MODEL_AMBIENT, (gl.GLfloat * 4)(0.0, 0.0, 0.0, 1.0))
        gl.glColorMaterial(gl.GL_FRONT_AND_BACK, gl.GL_AMBIENT_AND_DIFFUSE)

    def _compile(self, kind: Kind) -> int:
        gl = self.gl
        with _patched(self._opengl.Texture, "load", self._load):
            mesh = None if kind.mesh is None else self._mesh(kind.mesh)
        if mesh is not None and kind.color is not None:
            for part in mesh.vlists:
                part.colors[:] = COLORS[kind.color] * (len(part.colors) // 3)
        with self.compiled() as number:
            gl.glDisable(gl.GL_TEXTURE_2D)
            if mesh is not None:
                gl.glPushMatrix()
                scale = kind.height / mesh.max_coords[1]
                gl.glScalef(scale * THICKER.get(kind.mesh or "", 1), scale, scale)
                mesh.render()
                gl.glPopMatrix()
            elif kind.name.endswith("ball"):
                self._ball(kind)
            else:
                self._box(kind)
        return int(number)

    def _mesh(self, name: str) -> Any:
        path = self._path("meshes", f"{name}_red" if name == "key" else name, "obj")
        return self._meshes.ObjMesh(path)

    def _ball(self, kind: Kind) -> None:
        gl, radius = self.gl, kind.height / 2
        gl.glColor3f(*COLORS[str(kind.color)])
        gl.glPushMatrix()
        gl.glTranslatef(0, radius, 0)
        quadric = gl.gluNewQuadric()
        gl.gluSphere(quadric, radius, 20, 14)
        gl.gluDeleteQuadric(quadric)
        gl.glPopMatrix()

    def _box(self, kind: Kind) -> None:
        """Draw a box with a ribbon, or in a small picture it would look like a ball."""
        half, ribbon, out = kind.height / 2, 0.05, 0.004
        self.gl.glColor3f(*COLORS[str(kind.color)])
        self._opengl.drawBox(-half, half, 0, kind.height, -half, half)
        self.gl.glColor3f(*RIBBON)
        high = kind.height + out
        self._opengl.drawBox(-ribbon, ribbon, 0, high, -half - out, half + out)
        self._opengl.drawBox(-half - out, half + out, 0, high, -ribbon, ribbon)

    def _load(self, path: str | Path) -> SimpleNamespace:
        """Load a picture as a texture.

        pyglet takes seconds to decode one, and MiniWorld's meshes would stall the first episodes.
        """
        gl = self.gl
        with Image.open(path) as picture:
            metres = [side / TEXELS_PER_METRE for side in picture.size]
            small = picture.convert("RGB").resize(
                (TEXTURE_SIDE, TEXTURE_SIDE), Image.Resampling.BOX
            )
        pixels = np.ascontiguousarray(np.flipud(np.asarray(small)))
        number = gl.GLuint(0)
        gl.glGenTextures(1, number)
        gl.glBindTexture(gl.GL_TEXTURE_2D, number)
        gl.glPixelStorei(gl.GL_UNPACK_ALIGNMENT, 1)
        gl.glTexImage2D(
            gl.GL_TEXTURE_2D, 0, gl.GL_RGB, TEXTURE_SIDE, TEXTURE_SIDE, 0, gl.GL_RGB,
            gl.GL_UNSIGNED_BYTE, pixels.ctypes.data,
        )  # fmt: skip
        gl.glGenerateMipmap(gl.GL_TEXTURE_2D)
        for key, value in (("MAG", gl.GL_LINEAR), ("MIN", gl.GL_LINEAR_MIPMAP_LINEAR)):
            gl.glTexParameteri(gl.GL_TEXTURE_2D, getattr(gl, f"GL_TEXTURE_{key}_FILTER"), value)
        return SimpleNamespace(target=gl.GL_TEXTURE_2D, id=number.value, metres=metres)


def _import(name: str) -> Any:
    """Import a module, of the extra, that the rest of the package does without."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the house: the package {error.name!r} is not installed, expected the extra [house]. "
            f"Run: {INSTALL}, and on Debian: {SYSTEM}"
        ) from error


@contextlib.contextmanager
def _patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute for a while."""
    before = owner.__dict__[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
