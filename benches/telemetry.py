#!/usr/bin/env python3
"""Measures telemetry where that takes minutes: limits, outages, a reading that breaks each connection.

    cargo build --release
    python3 benches/telemetry.py                       # everything: about twelve minutes
    python3 benches/telemetry.py announced outage      # just these
    python3 benches/telemetry.py before --before FILE  # with times of their own: against another tbprov, in turn

Prints Markdown rows for docs/performance.md. What arrives is compared with what was sent: each reading is stored once.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from measure import KEY, ROOT, SECRET, row

EXIT_NETWORK, EXIT_PARTLY = 3, 6


class Server:
    """`tbprov sim` as a process that can be stopped and started again at its port, and what it stored."""

    def __init__(self, tbprov, folder, *flags):
        self.tbprov, self.folder, self.flags = tbprov, folder, flags
        self.port, self.runs, self.process = 0, 0, None
        self.start()

    def start(self):
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        self.runs += 1
        events = open(self.folder / f"events-{self.runs}.jsonl", "wb")
        command = [self.tbprov, "sim", "--events", "--port", str(self.port), "--dir", self.folder / "sim"]
        command += ["--state", self.folder / "state.json", "--ready-file", ready]
        command += ["--provision-key", KEY, "--provision-secret", SECRET, *self.flags]
        self.process = subprocess.Popen(command, stdout=events, stderr=subprocess.DEVNULL)
        while not ready.exists():
            time.sleep(0.01)
        self.port = json.loads(ready.read_text())["port"]

    def stop(self):
        self.process.kill()
        self.process.wait()

    def provision(self):
        command = [self.tbprov, "provision", "--quiet", "--host", "localhost", "--port", str(self.port)]
        command += ["--provision-key", KEY, "--server-cert", self.folder / "sim" / "server.pem", "--device-name", "d"]
        environment = dict(os.environ, TBPROV_PROVISION_SECRET=SECRET)
        subprocess.run(command, check=True, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL)

    def stored(self):
        """Each value of `number` at its time, over all runs."""
        values = {}
        for events in sorted(self.folder.glob("events-*.jsonl")):
            for line in events.read_bytes().splitlines():
                event = json.loads(line) if line.startswith(b'{"event":"telemetry"') else {}
                if "payload" in event:
                    reading = json.loads(event["payload"])
                    values[reading["ts"]] = reading["values"]["number"]
        return [values[ts] for ts in sorted(values)]


class Scene:
    """A server, a device, and a folder for both."""

    def __init__(self, tbprov, *flags):
        self.tbprov, self.flags = tbprov, flags

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.server = Server(self.tbprov, self.folder, *self.flags)
        self.server.provision()
        return self

    def __exit__(self, *_):
        self.server.stop()
        self.temporary.cleanup()

    def send(self, lines, *flags):
        """Starts to send these lines."""
        (self.folder / "lines").write_text("".join(lines))
        command = [self.tbprov, "connect", "d", "--events", "--send-telemetry=@lines", *flags]
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def numbers(count):
    return [f'{{"number":{number}}}\n' for number in range(count)]


def events_of(process):
    """Each event, with the seconds since the first one."""
    begin, seen = time.monotonic(), []
    for line in process.stdout:
        seen.append((time.monotonic() - begin, json.loads(line)))
    process.wait()
    return seen


def times_of(seen, event):
    return [at for at, one in seen if one.get("event") == event]


def check(scene, count):
    stored = scene.server.stored()
    assert stored == list(range(count)), f"{len(stored)} of {count} stored, or not in order"


def plain(tbprov):
    with Scene(tbprov) as scene:
        seen = events_of(scene.send(numbers(10_000)))
        acknowledged = times_of(seen, "acknowledged")
        check(scene, 10_000)
    row("10,000 lines without `ts`", f"{10_000 / (acknowledged[-1] - acknowledged[0]):.0f} a second", "> 950")


def announced(tbprov):
    with Scene(tbprov, "--device-limit", "100:1") as scene:
        seen = events_of(scene.send(numbers(7000)))
        acknowledged, closes = times_of(seen, "acknowledged"), len(times_of(seen, "reconnecting"))
        within = sum(at - acknowledged[0] <= 60 for at in acknowledged)
        check(scene, 7000)
    row("announced `100:1`: of 6,100 readings in a minute", f"{within} ({within / 61:.1f} %), {closes} closes", "> 95 %, 0")


def unannounced(tbprov):
    for count, goal in [(120, "< 15 s, < 9 closes"), (1200, "< 100 s; 1 close in 10 s after 30 s")]:
        with Scene(tbprov, "--tenant-limit", "20:1", "--fault", "puback-late=30ms") as scene:
            seen = events_of(scene.send(numbers(count)))
            closes, took = times_of(seen, "reconnecting"), seen[-1][0]
            check(scene, count)
        late = [at for at in closes if at > 30]
        most = max((sum(at <= other < at + 10 for other in late) for at in late), default=0)
        figure = f"{took:.1f} s, {len(closes)} closes, {most} in 10 s after the first 30 s"
        row(f"unannounced `20:1`: {count:,} readings", figure, goal)


def closing(tbprov):
    with Scene(tbprov, "--fault", "close-every=10") as scene:
        took = events_of(scene.send(numbers(500)))[-1][0]
        check(scene, 500)
    row("500 readings, each connection closed at its tenth", f"{took:.1f} s", "< 60 s")


def outage(tbprov):
    with Scene(tbprov) as scene:
        process = scene.send(numbers(10_000))
        threading.Thread(target=away, args=(scene.server, 65)).start()
        seen = events_of(process)
        check(scene, 10_000)
        attempts = len(times_of(seen, "reconnecting"))
    row("10,000 lines, the server away for 65 s", f"all stored once, {attempts} attempts", "all stored once")


def away(server, seconds):
    time.sleep(3)
    server.stop()
    time.sleep(seconds)
    server.start()


def restarts(tbprov):
    with Scene(tbprov) as scene:
        process = scene.send(numbers(10_000))
        stop = threading.Event()
        thread = threading.Thread(target=restarting, args=(scene.server, stop))
        thread.start()
        seen = events_of(process)
        stop.set()
        thread.join()
        check(scene, 10_000)
    figure = f"all stored once in {seen[-1][0]:.1f} s, {scene.server.runs - 1} restarts"
    row("10,000 lines, the server restarted every second", figure, "all stored once")


def restarting(server, stop):
    while not stop.wait(1):
        server.stop()
        server.start()


def poison(tbprov):
    """ThingsBoard 3.2 closes on a number that large, and tbprov only warns of it."""
    lines = numbers(300)
    lines.insert(150, '{"number":1e400}\n')
    for flags, code in [((), EXIT_NETWORK), (("--skip-refused",), EXIT_PARTLY)]:
        with Scene(tbprov, "--release", "3.2") as scene:
            process = scene.send(lines, *flags)
            seen = events_of(process)
            assert process.returncode == code, (process.returncode, seen[-1])
            last = seen[-1][1]
            if flags:
                assert last["telemetry"]["refused"] == 1, last
                check(scene, 300)
            else:
                assert "line 151" in last["error"]["message"], last
                check(scene, 150)
        row(f"a reading that breaks each connection {' '.join(flags)}", f"exit {code} after {seen[-1][0]:.0f} s", "> 120 s")


def before(tbprov, other, lines=500_000, rounds=5):
    """Both against the other's simulator."""
    if other is None:
        return print("skipped: no --before FILE to compare with")
    stamped = [f'{{"ts":{1_700_000_000_000 + n},"values":{{"temperature":{n % 40}.5,"humidity":{n % 100}}}}}\n' for n in range(lines)]
    rates = {tbprov: [], other: []}
    with Scene(other) as scene:
        (scene.folder / "lines").write_text("".join(stamped))
        for _ in range(rounds):
            for binary in (other, tbprov):
                begin = time.monotonic()
                command = [binary, "connect", "d", "--json", "--send-telemetry=@lines"]
                run = subprocess.run(command, cwd=scene.folder, check=True, capture_output=True)
                assert json.loads(run.stdout)["telemetry"]["acknowledged"] == lines
                rates[binary].append(lines / (time.monotonic() - begin))
    ours, theirs = (statistics.median(rates[binary]) for binary in (tbprov, other))
    figure = f"{ours:,.0f} a second, {theirs:,.0f} before ({100 * ours / theirs:.0f} %)"
    row(f"{lines:,} lines with `ts`, in turn", figure, "> 90 %")


SECTIONS = {
    "plain": plain,
    "announced": announced,
    "unannounced": unannounced,
    "closing": closing,
    "outage": outage,
    "restarts": restarts,
    "poison": poison,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}, before; all")
    parser.add_argument("--tbprov", type=Path, default=ROOT / "target" / "release" / "tbprov")
    parser.add_argument("--before", type=Path, help="another tbprov")
    arguments = parser.parse_args()
    tbprov = arguments.tbprov.resolve()
    for section in arguments.sections or [*SECTIONS, "before"]:
        if section == "before":
            before(tbprov, arguments.before and arguments.before.resolve())
        else:
            SECTIONS[section](tbprov)


if __name__ == "__main__":
    main()
