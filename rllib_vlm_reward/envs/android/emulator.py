"""A real Android emulator: one that runs, or one that is started from an AVD."""

import dataclasses
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from android_env.components.config_classes import (
    AdbControllerConfig,
    EmulatorConfig,
    EmulatorLauncherConfig,
)

from rllib_vlm_reward.errors import ConfigError

__all__ = ["Emulator"]

_ANSWER_S = 5.0
_KVM = Path("/dev/kvm")


@dataclasses.dataclass(frozen=True)
class Emulator:
    """Where an emulator is, and how long it takes to show what a touch did.

    Give either the three ports of an emulator that runs, or the name of an AVD, which is then
    started. AndroidEnv 1.3 reaches an emulator through localhost only.

    Attributes:
        adb_port: port of the emulator's adb, usually 5555.
        console_port: port of the emulator's console, usually 5554.
        grpc_port: port of the emulator's gRPC, given by ``emulator -grpc PORT``.
        avd_name: name of an AVD, as ``emulator -list-avds`` lists it.
        sdk_root: folder of the Android SDK, with ``emulator/emulator`` and ``platform-tools/adb``.
        avd_home: folder of the AVDs.
        adb_path: the program adb; None takes that of ``sdk_root``, else that of the PATH.
        adb_server_port: port of the adb server.
        settle_s: seconds between an action and the screenshot that shows what it did.

    Raises:
        ConfigError: neither three ports nor an AVD, or both.

    Example:
        >>> Emulator(adb_port=5555)
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: emulator: got the ports adb_port=5555, \
console_port=0, grpc_port=0 and avd_name='', expected all three ports of an emulator that runs, or \
an AVD. Start one with `emulator -avd NAME -ports 5554,5555 -grpc 8554`, and set console_port: \
5554, adb_port: 5555, grpc_port: 8554; or set avd_name alone.
    """

    adb_port: int = 0
    console_port: int = 0
    grpc_port: int = 0
    avd_name: str = ""
    sdk_root: str = "~/Android/Sdk"
    avd_home: str = "~/.android/avd"
    adb_path: str | None = None
    adb_server_port: int = 5037
    settle_s: float = 1.0

    def __post_init__(self) -> None:
        ports = [self.adb_port, self.console_port, self.grpc_port]
        if (any(ports) and self.avd_name) or not (all(ports) or self.avd_name):
            raise ConfigError(
                f"emulator: got the ports adb_port={self.adb_port}, "
                f"console_port={self.console_port}, grpc_port={self.grpc_port} and "
                f"avd_name={self.avd_name!r}, expected all three ports of an emulator that runs, "
                "or an AVD. Start one with `emulator -avd NAME -ports 5554,5555 -grpc 8554`, and "
                "set console_port: 5554, adb_port: 5555, grpc_port: 8554; or set avd_name alone."
            )

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> "Emulator":
        """Read the setting ``emulator`` of the env.

        Raises:
            ConfigError: an unknown key, or see :class:`Emulator`.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ConfigError(
                f"emulator: got the keys {unknown}, expected some of {known}. Correct them."
            )
        return cls(**settings)

    def config(self) -> EmulatorConfig:
        """Return the emulator's settings in AndroidEnv's form.

        Raises:
            ConfigError: see :meth:`check`.
        """
        launcher = EmulatorLauncherConfig(
            adb_port=self.adb_port,
            emulator_console_port=self.console_port,
            grpc_port=self.grpc_port,
            avd_name=self.avd_name,
            emulator_path=str(self._emulator),
            android_sdk_root=str(self._sdk),
            android_avd_home=str(Path(self.avd_home).expanduser()),
        )
        adb = AdbControllerConfig(adb_path=self.check(), adb_server_port=self.adb_server_port)
        return EmulatorConfig(emulator_launcher=launcher, adb_controller=adb)

    def check(self) -> str:
        """Check what can be checked in a moment: programs, files, and ports that answer.

        AndroidEnv 1.3 would wait for 100 s for a port, and would fail at a missing adb with an
        error that does not name it as the cause.

        Returns:
            The path of adb.

        Raises:
            ConfigError: adb, the AVD or KVM is missing, or a port refuses connections.
        """
        adb = self._adb()
        if self.avd_name:
            self._check_avd()
            return adb
        for name, port in (("adb_port", self.adb_port), ("grpc_port", self.grpc_port)):
            try:
                socket.create_connection(("localhost", port), timeout=_ANSWER_S).close()
            except OSError as error:
                raise self._silent(name, port, error) from error
        self._check_grpc()
        return adb

    def _check_grpc(self) -> None:
        # A drawn phone does not need it.
        import grpc

        address = f"localhost:{self.grpc_port}"
        with grpc.secure_channel(address, grpc.local_channel_credentials()) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=_ANSWER_S)
            except grpc.FutureTimeoutError as error:
                raise self._silent("grpc_port", self.grpc_port, "no gRPC there") from error

    def _silent(self, name: str, port: int, why: object) -> ConfigError:
        return ConfigError(
            f"emulator: {name} {port} of localhost does not answer ({why}). Start the emulator "
            f"with `emulator -avd NAME -ports {self.console_port},{self.adb_port} -grpc "
            f"{self.grpc_port}` and wait until it has booted. If it runs on another machine, "
            "forward its ports with `ssh -L`. Without the setting `emulator`, the env draws a "
            "phone."
        )

    @property
    def _sdk(self) -> Path:
        return Path(self.sdk_root).expanduser()

    @property
    def _emulator(self) -> Path:
        return self._sdk / "emulator" / "emulator"

    def _adb(self) -> str:
        given = self.adb_path or str(self._sdk / "platform-tools" / "adb")
        found = shutil.which(os.path.expanduser(given)) or (
            None if self.adb_path else shutil.which("adb")
        )
        if found is None:
            raise ConfigError(
                f"emulator: got no program {given!r}, expected Android's adb. Install the SDK's "
                "platform-tools, and set adb_path or sdk_root to where they are."
            )
        return found

    def _check_avd(self) -> None:
        avd = Path(self.avd_home).expanduser() / f"{self.avd_name}.ini"
        needed = {
            self._emulator: "Install the SDK's emulator, and set sdk_root.",
            avd: "`emulator -list-avds` lists the AVDs; `avdmanager create avd` makes one. Set "
            "avd_home to their folder.",
        }
        if sys.platform == "linux":
            needed[_KVM] = (
                "An emulator needs a machine, or a virtual machine, with KVM. Start it there, "
                "forward its ports with `ssh -L`, and set the three ports instead of avd_name."
            )
        for path, remedy in needed.items():
            if not path.exists():
                raise ConfigError(
                    f"emulator: {path} does not exist, expected it for the AVD "
                    f"{self.avd_name!r}. {remedy}"
                )
