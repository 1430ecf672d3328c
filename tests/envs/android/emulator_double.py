"""Stands in for an emulator: its gRPC service and adb, with a drawn phone behind them.

The env connects to it with AndroidEnv's own EmulatorSimulator, as to an emulator that runs.
"""

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from android_env.proto import emulator_controller_pb2 as messages
from android_env.proto import emulator_controller_pb2_grpc as service

from rllib_vlm_reward.envs.android.phone import DrawnPhone

# $* are the arguments: the adb server's port, the device, the command.
ADB = """#!/bin/sh
echo "$*" >> {folder}/commands
case "$*" in
    *KEYCODE_HOME*) echo home >> {folder}/keys ;;
    *"am stack list"*) cat {folder}/stack ;;
    *"dumpsys input"*) echo "  SurfaceOrientation: 0" ;;
    *"logcat -v epoch"*) exec sleep 600 ;;
esac
"""
SCALE = 3


class EmulatorDouble(service.EmulatorControllerServicer):
    def __init__(self, apps, folder):
        self.phone = DrawnPhone(apps, num_pages=2, scale=SCALE)
        self.phone.renew(np.random.default_rng(1))
        self.folder = folder
        self.adb_path = folder / "adb"
        self.adb_path.write_text(ADB.format(folder=folder))
        self.adb_path.chmod(0o755)
        self._note()

    @property
    def commands(self):
        """The commands that adb was given."""
        return (self.folder / "commands").read_text().splitlines()

    def getStatus(self, request, context):
        return messages.EmulatorStatus(booted=True)

    def sendTouch(self, request, context):
        touches = [(it.x, it.y, bool(it.pressure), it.identifier) for it in request.touches]
        self.phone.send_touch(touches)
        self._note()
        return messages.google_dot_protobuf_dot_empty__pb2.Empty()

    def getScreenshot(self, request, context):
        self._note()
        pixels = self.phone.get_screenshot()
        height, width = pixels.shape[:2]
        rgba = np.dstack([pixels, np.full((height, width), 255, np.uint8)])
        size = messages.ImageFormat(width=width, height=height)
        return messages.Image(format=size, image=rgba.tobytes())

    def _note(self):
        """Press the keys that adb was given, and write down what it reports."""
        keys = self.folder / "keys"
        if keys.exists():
            for _ in keys.read_text().splitlines():
                self.phone.press_home()
            keys.unlink()
        activity = self.phone.activity
        line = f"  taskId=7: {activity} visible=true topActivity=ComponentInfo{{{activity}}}\n"
        (self.folder / "stack").write_text(line)

    @contextlib.contextmanager
    def running(self):
        """Serve; yield the settings with which the env finds it."""
        server = grpc.server(ThreadPoolExecutor(2))
        service.add_EmulatorControllerServicer_to_server(self, server)
        port = server.add_secure_port("localhost:0", grpc.local_server_credentials())
        server.start()
        with socket.create_server(("localhost", 0)) as adb:
            adb_port = adb.getsockname()[1]
            yield {
                "adb_port": adb_port,
                "console_port": adb_port - 1,
                "grpc_port": port,
                "adb_path": str(self.adb_path),
                "settle_s": 0.01,
            }
        server.stop(None).wait()
