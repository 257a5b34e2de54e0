"""A board on a pseudo-terminal: esp32-mock-bootloader, with its flash in a file, and with the faults of real ones.

    python3 board.py --chip esp32c3 --flash flash.bin --port port

`port` becomes a link to the pseudo-terminal. The flash is a file of 4 MiB that whoever wants may read. Each fault
happens once, or as long as the board lives:

    --cut-after N     the cable is pulled after N bytes from the host, and plugged in again a moment later
    --worn OFFSET     the byte at OFFSET takes nothing but 0
    --slow SECONDS    every block takes so long
    --lose COMMAND    the first answer to this command (its number) lacks a byte, as on a bad line
    --silent          nothing is answered
    --noise           everything is answered by noise
"""

import argparse
import fcntl
import mmap
import os
import pty
import random
import select
import sys
import termios
import threading
import time
import tty

from esp32_mock_bootloader import server

FLASH_SIZE = 4 << 20
# What restarts a chip whose port has no line for it; the firmware's log begins.
RUN_USER_CODE = b"\xc0\x00\xd3"


class Pulled(Exception):
    """The cable is out."""


class Flash(server.FlashImage):
    """In a file. As on a chip, whole sectors are erased before they are written."""

    def __init__(self, path, worn, slow):
        super().__init__()
        file = open(path, "r+b")
        self.data = mmap.mmap(file.fileno(), FLASH_SIZE)
        self.worn, self.slow = worn, slow

    def begin_defl(self, payload):
        super().begin_defl(payload)
        size, offset = (int.from_bytes(payload[at : at + 4], "little") for at in (0, 12))
        self.erase_region(offset, -(-size // 4096) * 4096)

    def write_defl_block(self, payload):
        time.sleep(self.slow)
        super().write_defl_block(payload)
        if self.worn is not None and self.worn < self._defl_offset:
            self.data[self.worn] = 0


class Line(server.PtyMasterTransport):
    """The cable."""

    def __init__(self, faults):
        master, slave = pty.openpty()
        tty.setraw(slave)
        super().__init__(master, slave)
        self.faults, self.heard = faults, 0

    def recv(self, size):
        chunk = super().recv(size)
        # A serial port is free again when it is closed; this one is kept open.
        fcntl.ioctl(self._slave, termios.TIOCNXCL)
        self.heard += len(chunk)
        if self.faults.cut_after is not None and self.heard >= self.faults.cut_after:
            self.faults.cut_after = None
            raise Pulled
        if RUN_USER_CODE in chunk:
            os.write(self._master, b"tbprov firmware on a board\r\n")
        if self.faults.silent or self.faults.noise:
            if self.faults.noise:
                os.write(self._master, random.Random(self.heard).randbytes(len(chunk)))
            raise TimeoutError
        return chunk

    def sendall(self, data):
        if self.faults.lose is not None and data[2:3] == bytes([self.faults.lose]):
            self.faults.lose = None
            data = data[:6] + data[7:]
        while data:
            data = data[os.write(self._master, data) :]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--chip", default="esp32c3")
    parser.add_argument("--flash", required=True)
    parser.add_argument("--port", required=True)
    for name, kind in (("cut-after", int), ("worn", int), ("lose", int), ("slow", float)):
        parser.add_argument(f"--{name}", type=kind, default=0.0 if kind is float else None)
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--noise", action="store_true")
    faults = parser.parse_args()

    if not os.path.exists(faults.flash):
        with open(faults.flash, "wb") as file:
            file.write(b"\xff" * FLASH_SIZE)
    flash = Flash(faults.flash, faults.worn, faults.slow)
    # Whoever started it closes its stdin at the end.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        line = Line(faults)
        beside = f"{faults.port}.new"
        os.symlink(line.client_path, beside)
        os.replace(beside, faults.port)
        print("ready", flush=True)
        try:
            server.handle_client(
                server.BootloaderConnection(pty=line), threading.Event(), faults.chip, exit_on_disconnect=True, flash=flash
            )
        except Pulled:
            os.unlink(faults.port)
        line.close()
        time.sleep(0.05)


main()
