#!/usr/bin/env python3
"""Measures the firmware and `tbprov firmware flash`.

    cargo build --release
    python3 benches/firmware.py                  # everything
    python3 benches/firmware.py sizes emulator   # just these
    python3 benches/firmware.py idle             # takes ten and a half minutes, so only when it is named

Prints Markdown rows for docs/performance.md. `sizes` needs the compilers for the chips, `emulator` QEMU, `flash` the
package esp32-mock-bootloader. The mock answers at once, whatever the baud: what is measured is the tool. On a board the
line and the flash come to it.
"""

import argparse
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, SECRET, Simulator, milliseconds, row, timed

RUNS = 5
APPLICATION = 0x10000


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


def build(tbprov, *arguments):
    command = [tbprov, "firmware", "build", "--json", "--firmware-dir", ROOT / "firmware", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def sizes(tbprov, _):
    for arguments in (["esp32c3"], ["esp32c3", "--ethernet"], ["esp32c2"], ["esp32c6"], ["esp32h2"]):
        built = build(tbprov, "--chip", *arguments)
        image, goal = built["image"], "< 983,040" if arguments == ["esp32c3"] else ""
        figure = f"{image['bytes']:,} of {image['partition']:,} bytes; {built['static_ram']:,} bytes of RAM before it starts"
        row(f"image for {' '.join(arguments)}", figure, goal)
        if arguments == ["esp32c3"]:
            parts = ", ".join(f"{name} {size:,}" for name, size in origins(Path(built["elf"]).read_bytes()).items())
            row("the bytes of esp32c3 that have a name, by their origin", parts, "")


def origins(elf):
    """Bytes of functions and constants by where they come from, out of the symbols of an ELF file for 32 bits."""
    header = struct.unpack_from("<IIIIIHHHHHH", elf, 0x14)
    sections = [struct.unpack_from("<10I", elf, header[3] + 40 * index) for index in range(header[9])]
    symbols = next(section for section in sections if section[1] == 2)
    strings = sections[symbols[6]]
    total, seen = {"Mbed TLS": 0, "Rust": 0, "radio and C": 0}, set()
    for at in range(symbols[4], symbols[4] + symbols[5], 16):
        name, value, size, info, _, place = struct.unpack_from("<IIIBBH", elf, at)
        # Functions and objects that have bytes in the file.
        if info & 15 not in (1, 2) or not 0 < place < len(sections) or sections[place][1] == 8 or value in seen:
            continue
        seen.add(value)
        name = elf[strings[4] + name :].split(b"\0", 1)[0]
        if name.startswith((b"mbedtls_", b"psa_")):
            total["Mbed TLS"] += size
        elif name.startswith((b"_ZN", b"_R")) or b".llvm." in name:
            total["Rust"] += size
        else:
            total["radio and C"] += size
    return total


def emulator(tbprov, folder):
    elf = build(tbprov, "--board", "virt")["elf"]
    environment = dict(os.environ, TBPROV_PROVISION_SECRET=SECRET)
    # Eight nanoseconds an instruction, so a millisecond of its clock is 125,000 instructions.
    clock = ["--", "-icount", "shift=3"]
    with Simulator(tbprov, folder) as simulator:
        for key_type in ("ec-p256", "rsa-2048"):
            provision = simulator.provision(tbprov, key_type) + ["--key-type", key_type]
            subprocess.run(provision, cwd=folder, env=environment, check=True, capture_output=True)
            emulate = [tbprov, "firmware", "emulate", "--device", key_type, "--elf", elf, "--count", "1", *clock]
            log = subprocess.run(emulate, cwd=folder, check=True, capture_output=True, text=True).stdout
            handshake = int(re.search(r"\[TLS\] (\S+ \S+) after (\d+) ms", log)[2])
            puback = int(re.search(r"I \((\d+)\) tbprov: \[Telemetry\]\[Ack\]", log)[1])
            start, before, during = (int(n) for n in re.findall(r"free heap (\d+) bytes", log)[:3])
            figure = f"{puback / 8:.0f} M instructions, of which the handshake {handshake / 8:.0f} M"
            row(f"start to the first PUBACK in QEMU, {key_type}, TLS 1.3", figure, "")
            row(f"free heap at the start, before and during a session, {key_type}", f"{start:,}, {before:,}, {during:,} bytes", "")


def flash(tbprov, folder):
    image = folder / "image.bin"
    make = [tbprov, "firmware", "image", "--quiet", "--chip", "esp32c3", "--firmware-dir", ROOT / "firmware", "--out", image]
    subprocess.run(make, check=True, capture_output=True)
    environment = dict(os.environ, TBPROV_PROVISION_SECRET=SECRET)
    command = [tbprov, "firmware", "flash", "--quiet", "--port", "port"]
    with Simulator(tbprov, folder) as simulator:
        subprocess.run(simulator.provision(tbprov, "bench"), cwd=folder, env=environment, check=True, capture_output=True)
    with Board(folder):
        whole = command + ["--image", image, "--device", "bench"]
        size = Path(image).stat().st_size
        row(
            f"`tbprov firmware flash --image FILE --device NAME`, {size:,} bytes (median of {RUNS})",
            spread([timed(whole, cwd=folder) for _ in range(RUNS)]),
            "",
        )
        alone = command + ["--identity-only", "--device", "bench"]
        row(
            f"`tbprov firmware flash --identity-only --device NAME` (median of {RUNS})",
            spread([timed(alone, cwd=folder) for _ in range(RUNS)]),
            "about 1 s",
        )
        written = (Path(folder) / "flash.bin").read_bytes()[APPLICATION:size]
        assert written == Path(image).read_bytes()[APPLICATION:], "the flash is not the image"


def idle(tbprov, folder):
    """One session has to last: a reading every 70 s, and nothing but pings between two of them."""
    elf = build(tbprov, "--board", "virt")["elf"]
    with Simulator(tbprov, folder) as simulator:
        environment = dict(os.environ, TBPROV_PROVISION_SECRET=SECRET)
        subprocess.run(simulator.provision(tbprov, "idle"), cwd=folder, env=environment, check=True, capture_output=True)
        emulate = [tbprov, "firmware", "emulate", "--device", "idle", "--elf", elf, "--interval", "70s", "--count", "10"]
        log = subprocess.run(emulate, cwd=folder, check=True, capture_output=True, text=True).stdout
    sessions, readings = log.count("[MQTT] connected"), log.count("[Telemetry][Ack]")
    seconds = int(re.findall(r"I \((\d+)\) tbprov: \[Telemetry\]\[Ack\]", log)[-1]) // 1000
    row("readings every 70 s in QEMU", f"{readings} readings over {sessions} session(s) in {seconds} s", "1 session")


SECTIONS = {"sizes": sizes, "emulator": emulator, "flash": flash, "idle": idle}
ONLY_WHEN_NAMED = {"idle"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], default=[])
    parser.add_argument("--tbprov", default=ROOT / "target" / "release" / "tbprov", type=Path)
    arguments = parser.parse_args()
    for name in arguments.sections or [name for name in SECTIONS if name not in ONLY_WHEN_NAMED]:
        with tempfile.TemporaryDirectory() as folder:
            SECTIONS[name](arguments.tbprov.resolve(), Path(folder))


if __name__ == "__main__":
    main()
