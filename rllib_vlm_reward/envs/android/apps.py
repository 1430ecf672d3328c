"""The apps of the drawn phone: names, packages, and how their icons and screens look."""

import dataclasses
from collections.abc import Mapping, Sequence

from rllib_vlm_reward.envs.android.pen import Color
from rllib_vlm_reward.errors import ConfigError

__all__ = ["ALL", "COLORS", "COMMON", "DIVERSE", "App", "chosen_apps"]

COLORS: dict[str, Color] = {
    "red": (214, 48, 49),
    "orange": (243, 128, 32),
    "amber": (247, 196, 40),
    "lime": (156, 204, 50),
    "green": (34, 150, 84),
    "teal": (0, 152, 152),
    "sky": (88, 182, 240),
    "blue": (40, 92, 214),
    "indigo": (74, 58, 160),
    "purple": (158, 74, 200),
    "pink": (240, 98, 160),
    "brown": (126, 84, 60),
    "slate": (96, 112, 128),
    "black": (30, 30, 36),
    "white": (248, 248, 248),
}
"""The colours of icons and screens, by name."""


@dataclasses.dataclass(frozen=True, slots=True)
class App:
    """An app of a phone.

    Attributes:
        name: the name in goals, such as "clock".
        package: the name of the Android package.
        ground, mark: colours of the icon's shape and glyph, keys of :data:`COLORS`; the header of
            the app's screen has them, too.
        shape: the icon's shape, a key of :data:`.icons.SHAPES`.
        glyph: the icon's glyph, a key of :data:`.icons.GLYPHS`.
        layout: the layout of the app's screen, a key of :data:`.screens.LAYOUTS`.

    Example:
        >>> ALL["clock"].activity
        'com.google.android.deskclock/com.google.android.deskclock.MainActivity'
    """

    name: str
    package: str
    ground: str = "slate"
    mark: str = "white"
    shape: str = "circle"
    glyph: str = "dots"
    layout: str = "rows"

    @property
    def activity(self) -> str:
        """The activity that the drawn phone's adb reports while the app is open."""
        return f"{self.package}/{self.package}.MainActivity"


def _apps(table: str, packages: Mapping[str, str]) -> dict[str, App]:
    rows = [line.split() for line in table.strip().splitlines()]
    return {
        name: App(name, packages.get(name, f"com.example.{name}"), *look) for name, *look in rows
    }


# The packages that Google's emulator images have for these apps; the others have invented ones.
_PACKAGES = {
    "calculator": "com.google.android.calculator",
    "calendar": "com.google.android.calendar",
    "camera": "com.android.camera2",
    "clock": "com.google.android.deskclock",
    "contacts": "com.google.android.contacts",
    "maps": "com.google.android.apps.maps",
    "messages": "com.google.android.apps.messaging",
    "music": "com.google.android.apps.youtube.music",
    "photos": "com.google.android.apps.photos",
    "settings": "com.android.settings",
}

COMMON: dict[str, App] = _apps(
    """
    calculator black orange square buttons keypad
    calendar white red square grid month
    camera pink white circle lens viewfinder
    clock indigo white circle hands dial
    contacts teal white circle person rows
    maps green red square pin map
    messages blue white square bubble chat
    music orange black circle note player
    photos white purple hexagon flower gallery
    settings slate white octagon gear toggles
    """,
    _PACKAGES,
)
"""The ten common apps, by name."""

DIVERSE: dict[str, App] = _apps(
    """
    bank green amber hexagon bars chart
    bikes lime black circle wheels map
    birds sky brown diamond wing gallery
    books brown white square book page
    browser sky white circle globe page
    budget amber black square bars toggles
    chess black white square checker board
    compass red white circle needle dial
    dictionary purple white square book rows
    drawing white blue diamond brush viewfinder
    drums brown amber circle drum tiles
    files amber brown square folder rows
    fitness red black hexagon bolt chart
    flights blue amber circle plane cards
    garden green white circle leaf gallery
    hotels indigo amber square bed cards
    karaoke pink black diamond mic player
    mail white red octagon envelope rows
    metronome slate amber diamond needle keypad
    movies black red square play cards
    news red white square lines cards
    notes amber white square lines page
    parking blue white square letter map
    pets orange white circle paw gallery
    phone green white circle handset keypad
    piano white black square keys keys
    podcasts purple white circle mic rows
    puzzle teal amber diamond piece board
    quiz pink white hexagon question tiles
    racing red amber octagon wheels player
    radio brown white octagon waves dial
    recipes orange brown square pot cards
    recorder red white diamond mic chart
    ruler amber red diamond ticks keys
    scanner teal white square frame viewfinder
    shop purple amber square bag tiles
    sleep indigo white diamond moon chart
    solitaire green black diamond heart board
    stars black amber circle star viewfinder
    stocks white green octagon bars chart
    sudoku white blue square checker board
    tasks lime white square check toggles
    taxi amber black circle car map
    tickets pink amber square ticket cards
    tides teal sky circle waves chart
    torch black amber octagon bulb dial
    trains slate red square car toggles
    translator blue lime hexagon bubble chat
    wallet brown lime square folder tiles
    weather sky amber square sun tiles
    """,
    {},
)
"""Fifty more apps, by name."""

ALL: dict[str, App] = COMMON | DIVERSE
"""All apps that the phone can draw, by name."""

SETS = {"common": COMMON, "diverse": DIVERSE, "all": ALL}


def chosen_apps(apps: str | Sequence[str] | Mapping[str, str], *, drawn: bool) -> tuple[App, ...]:
    """Return the apps that the setting ``apps`` of the env names.

    Args:
        apps: ``common``, ``diverse`` or ``all``; a list of names; or a mapping from names to
            Android packages.
        drawn: whether the apps must be among those that the phone can draw.

    Raises:
        ConfigError: fewer than two apps, an app twice, or an unknown one.

    Example:
        >>> [app.name for app in chosen_apps(["clock", "maps"], drawn=True)]
        ['clock', 'maps']
        >>> chosen_apps({"files": "com.android.documentsui"}, drawn=False)
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: apps: got ['files'], expected at least two different \
names. Name more apps.
    """
    if isinstance(apps, str):
        if apps not in SETS:
            raise ConfigError(
                f"apps: got {apps!r}, expected one of {list(SETS)}, a list of names, or a mapping "
                "from names to Android packages. Correct the name."
            )
        return tuple(SETS[apps].values())
    names = list(apps)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"apps: got {names}, expected at least two different names. Name more apps."
        )
    packages = apps if isinstance(apps, Mapping) else {}
    unknown = [name for name in names if name not in ALL and (drawn or name not in packages)]
    if unknown:
        raise ConfigError(
            f"apps: got {unknown}, expected some of {sorted(ALL)}. Correct the names; an emulator "
            "takes any name that comes with its package, as in {'files': "
            "'com.google.android.documentsui'}."
        )
    known = [ALL.get(name, App(name, "")) for name in names]
    return tuple(
        dataclasses.replace(app, package=packages.get(app.name, app.package)) for app in known
    )
