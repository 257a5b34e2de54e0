#!/usr/bin/env python3
"""Rotates devices against `tbprov sim`: killed at random moments, and timed.

    cargo build --release
    python3 benches/rotation.py                      # everything: about eight minutes
    python3 benches/rotation.py kills --moments 40   # fewer kills
    python3 benches/rotation.py times --devices 100  # fewer devices

`kills`: each device's rotation is killed at a random moment (every fifth one three times), then run to its end. After it
exactly one of the device's identities has to work: the server's certificate is the store's current one, it connects, and
nothing is left over. `times`: the rotation of one device, and of many by one command.

Prints Markdown rows for docs/performance.md. Exit code 1 if a device was lost.
"""

import argparse
import collections
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import KEY, ROOT, SECRET, milliseconds, row

RELEASES = ["3.6", "3.8", "4.0", "4.3"]
WAYS = ["account", "chain"]
SEED = 0x5EED_0FC4


class Place:
    """A server of one release, and a store; the server learns of new certificates in one way."""

    def __init__(self, tbprov, release, way):
        self.tbprov, self.release, self.way = tbprov, release, way

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.environment = dict(os.environ, TBPROV_PROVISION_SECRET=SECRET)
        ready = self.folder / "ready.json"
        command = [self.tbprov, "--quiet", "sim", "--port", "0", "--rest-port", "0", "--release", self.release]
        command += ["--dir", self.folder / "sim", "--ready-file", ready, "--state", self.folder / "state.json"]
        if self.way == "chain":
            self.run("certs", "ca", "--name", "bench")
            command += ["--strategy", "chain", "--ca", self.folder / "ca.pem", "--name-pattern", "(.*)"]
        else:
            command += ["--provision-key", KEY, "--provision-secret", SECRET]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not ready.exists():
            time.sleep(0.01)
        self.facts = json.loads(ready.read_text())
        return self

    def __exit__(self, *_):
        self.server.terminate()
        self.server.wait()
        self.temporary.cleanup()

    def run(self, *arguments, check=True):
        command = [self.tbprov, *arguments, "--json"]
        ran = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if check and ran.returncode != 0:
            raise RuntimeError(f"{arguments}: {ran.stdout}{ran.stderr}")
        return json.loads(ran.stdout)

    def authority(self):
        return ["--ca-cert", "ca.pem", "--ca-key", "ca_key.pem"] if self.way == "chain" else []

    def provision(self, name):
        server = ["--host", "localhost", "--port", str(self.facts["port"]), "--server-cert", self.facts["server_cert"]]
        profile = self.authority() or ["--provision-key", KEY]
        self.run("provision", *server, *profile, "--device-name", name)

    def rotation(self, *arguments):
        """The command and its environment."""
        environment = self.environment
        if self.way == "account":
            environment = dict(
                environment,
                TBPROV_API_URL=self.facts["api_url"],
                TBPROV_API_USER=self.facts["api_user"],
                TBPROV_API_PASSWORD=self.facts["api_password"],
                TBPROV_API_CERT=self.facts["server_cert"],
            )
        return [self.tbprov, "rotate", "--json", *self.authority(), *arguments], environment

    def rotate(self, *arguments):
        """Rotates to the end. Tells the result, and how long it took."""
        command, environment = self.rotation(*arguments)
        begin = time.perf_counter()
        ran = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - begin
        if ran.returncode != 0:
            raise RuntimeError(f"rotate {arguments}: {ran.stdout}{ran.stderr}")
        return json.loads(ran.stdout), seconds

    def killed(self, name, moment):
        """Kills a rotation after so many seconds. Tells whether it had ended."""
        command, environment = self.rotation(name)
        process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=moment)
            return True
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False

    def record(self, name):
        return json.loads((self.folder / "devices" / name / "device.json").read_text())

    def left(self, name):
        """How far a killed rotation had come."""
        candidate = self.record(name).get("candidate")
        return candidate["state"] if candidate else "none"

    def faults(self, name, before):
        """What is wrong with the device after its rotation."""
        record = self.record(name)
        if record["state"] != "proved" or "candidate" in record:
            yield f"{name}: the record is not whole"
        if record["credentials_id"] == before:
            yield f"{name}: it was not rotated"
        connected = self.run("connect", name, check=False)
        if connected.get("credentials_id") != record["credentials_id"]:
            yield f"{name}: its current identity does not connect: {connected}"


def kills(tbprov, moments, seed):
    """Prints a row for each way, and tells what went wrong."""
    wrong = []
    for way in WAYS:
        left, outcomes, killed = collections.Counter(), collections.Counter(), 0
        begin = time.perf_counter()
        for release in RELEASES:
            chance = random.Random(f"{seed} {way} {release}")
            with Place(tbprov, release, way) as place:
                place.provision("undisturbed")
                # How long a run takes depends on what else the machine does, so the moments follow it.
                window = place.rotate("undisturbed")[1]
                for number in range(moments // len(RELEASES)):
                    name = f"device-{number}"
                    place.provision(name)
                    before = place.record(name)["credentials_id"]
                    for _ in range(3 if number % 5 == 4 else 1):
                        has_ended = place.killed(name, chance.uniform(0, window))
                        window *= 0.8 if has_ended else 1.1
                        killed += not has_ended
                    left[place.left(name)] += 1
                    outcomes[place.rotate(name)[0]["outcome"]] += 1
                    wrong += [f"{release} {way}: {fault}" for fault in place.faults(name, before)]
        devices = moments // len(RELEASES) * len(RELEASES)
        states = ", ".join(f"{count} {state}" for state, count in sorted(left.items()))
        ended = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        seconds = time.perf_counter() - begin
        what = f"{way}: {devices} devices of {len(RELEASES)} releases, {killed} kills (candidates left: {states})"
        row(what, f"{len(wrong)} lost; reruns: {ended}; {seconds:.0f} s", "0 lost")
    return wrong


def times(tbprov, devices):
    """Prints rows for one device, and for many by one command."""
    for way in WAYS:
        with Place(tbprov, RELEASES[-1], way) as place:
            place.provision("device")
            single = statistics.median(place.rotate("device")[1] for _ in range(50))
            row(f"{way}: rotation of one device, process start to exit (median of 50)", milliseconds(single), "")
            for number in range(devices - 1):
                place.provision(f"device-{number}")
            result, seconds = place.rotate("--all")
            rotated = sum(device["outcome"] == "rotated" for device in result["devices"])
            if rotated != devices:
                raise RuntimeError(f"{rotated} of {devices} devices were rotated")
            row(f"{way}: rotation of {devices} devices by one command", f"{seconds:.1f} s", "")
            row(f"{way}: the same for each device", milliseconds(seconds / devices), "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help="kills, times; else both")
    parser.add_argument("--tbprov", type=Path, default=ROOT / "target" / "release" / "tbprov")
    parser.add_argument("--moments", type=int, default=200, help="devices that are killed, in each way")
    parser.add_argument("--devices", type=int, default=1000, help="devices that are rotated by one command")
    parser.add_argument("--seed", type=lambda text: int(text, 0), default=SEED)
    arguments = parser.parse_args()
    sections = arguments.sections or ["kills", "times"]
    if set(sections) - {"kills", "times"}:
        parser.error(f"unknown sections: {' '.join(sections)}")
    tbprov = arguments.tbprov.resolve()
    wrong = kills(tbprov, arguments.moments, arguments.seed) if "kills" in sections else []
    if "times" in sections:
        times(tbprov, arguments.devices)
    for fault in wrong:
        print(fault, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
