#!/usr/bin/env python3
"""Measures `tbprov firmware flash` as its users run it, against esp32-mock-bootloader on a pseudo-terminal.

    cargo build --release
    python3 benches/firmware.py               # an application of 900 KB that compresses as code does
    python3 benches/firmware.py --image FILE  # what 'tbprov firmware image' wrote

Needs the package esp32-mock-bootloader; `tbprov sim` gives the device. Prints Markdown rows for docs/performance.md.
The mock answers at once, whatever the baud: what is measured is the tool. On a board the line and the flash come to
it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, SECRET, Simulator, milliseconds, row, timed

RUNS = 5
TABLE, APPLICATION = 0x8000, 0x10000


class Board:
    """The board of the tests, with its flash in a file."""

    def __init__(self, folder):
        script = ROOT / "tests" / "support" / "board.py"
        command = [sys.executable, script, "--flash", "flash.bin", "--port", "port"]
        self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def spread(seconds):
    seconds = sorted(seconds)
    return f"{milliseconds(seconds[len(seconds) // 2])} ({milliseconds(seconds[0])} to {milliseconds(seconds[-1])})"


def made_up_image(tbprov):
    """Any program of the right size: tbprov's own, between the headers that a chip's image has."""
    header = b"\xe9" + bytes(11) + (5).to_bytes(2, "little") + bytes(10)
    program = Path(tbprov).read_bytes()
    entries = b""
    for kind, subtype, offset, size, label in (
        (1, 2, 0x9000, 0x6000, b"identity"),
        (1, 1, 0xF000, 0x1000, b"phy_init"),
        (0, 0, APPLICATION, 0x1E0000, b"factory"),
    ):
        entries += b"\xaa\x50" + bytes([kind, subtype]) + offset.to_bytes(4, "little") + size.to_bytes(4, "little")
        entries += label.ljust(16, b"\0") + bytes(4)
    bootloader = header + program[0x1000 : 0x1000 + 20_000]
    image = bootloader.ljust(TABLE, b"\xff") + entries.ljust(0xC00, b"\xff")
    return image.ljust(APPLICATION, b"\xff") + header + program[0x10000 : 0x10000 + 900_000]


def measure(tbprov, folder, image):
    environment = dict(os.environ, TBPROV_PROVISION_SECRET=SECRET)
    flash = [tbprov, "firmware", "flash", "--quiet", "--port", "port"]
    with Simulator(tbprov, folder) as simulator:
        subprocess.run(simulator.provision(tbprov, "bench"), cwd=folder, env=environment, check=True, capture_output=True)
    with Board(folder):
        whole = flash + ["--image", image, "--device", "bench"]
        size = Path(image).stat().st_size
        row(
            f"`tbprov firmware flash --image FILE --device NAME`, {size:,} bytes (median of {RUNS})",
            spread([timed(whole, cwd=folder) for _ in range(RUNS)]),
            "",
        )
        alone = flash + ["--identity-only", "--device", "bench"]
        row(
            f"`tbprov firmware flash --identity-only --device NAME` (median of {RUNS})",
            spread([timed(alone, cwd=folder) for _ in range(RUNS)]),
            "about 1 s",
        )
        written = (Path(folder) / "flash.bin").read_bytes()[APPLICATION:size]
        assert written == Path(image).read_bytes()[APPLICATION:], "the flash is not the image"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tbprov", default=ROOT / "target" / "release" / "tbprov", type=Path)
    parser.add_argument("--image", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        image = arguments.image and arguments.image.resolve()
        if image is None:
            image = folder / "image.bin"
            image.write_bytes(made_up_image(arguments.tbprov))
        measure(arguments.tbprov.resolve(), folder, image)


if __name__ == "__main__":
    main()
