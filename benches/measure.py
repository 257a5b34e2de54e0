#!/usr/bin/env python3
"""Measures tbprov as its users run it: whole processes, on loopback, against `tbprov sim`.

    cargo build --release
    python3 benches/measure.py                       # everything that this machine has the peers for
    python3 benches/measure.py provision telemetry   # just these

Prints Markdown rows for docs/performance.md. Needs only Python's standard library; GNU `time` for peak memory,
`openssl` for the comparison of certificates, the packages in benches/reference.py for that of provisioning.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEY, SECRET = "bench-key", "bench-secret"

# Of readings that bring their own, in milliseconds.
FIRST_TIME = 1_700_000_000_000


def row(what, figure, goal):
    print(f"| {what} | {figure} | {goal} |", flush=True)


def milliseconds(seconds):
    return f"{seconds * 1000:.1f} ms"


def timed(command, **options):
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    return time.perf_counter() - begin


def median_of(count, command_for, **options):
    return statistics.median(timed(command_for(index), **options) for index in range(count))


def alternately(count, *contenders):
    """Medians of several commands run in turn, so that a busy moment of the machine meets them all."""
    times = [[] for _ in contenders]
    for index in range(count):
        for command_for, results in zip(contenders, times):
            results.append(timed(command_for(index)))
    return [statistics.median(results) for results in times]


class Simulator:
    """`tbprov sim` as a process of its own."""

    def __init__(self, tbprov, folder):
        self.ready = folder / "ready.json"
        command = [tbprov, "--quiet", "sim", "--port", "0", "--dir", folder / "sim", "--ready-file", self.ready]
        command += ["--provision-key", KEY, "--provision-secret", SECRET]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not self.ready.exists():
            time.sleep(0.01)
        self.facts = json.loads(self.ready.read_text())

    def memory_kib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def provision(self, tbprov, name):
        command = [tbprov, "provision", "--json", "--host", "localhost", "--port", str(self.facts["port"])]
        command += ["--provision-key", KEY, "--server-cert", self.facts["server_cert"]]
        return command + ["--device-name", name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def provision(tbprov, folder):
    environment = dict(os.environ, TBPROV_PROVISION_SECRET=SECRET)
    with Simulator(tbprov, folder) as simulator:
        ours = median_of(200, lambda n: simulator.provision(tbprov, f"device-{n}"), cwd=folder, env=environment)
        row("whole provisioning, ec-p256, process start to exit (median of 200)", milliseconds(ours), "< 40 ms")

        if shutil.which("/usr/bin/time"):
            peak = peak_memory_mib(simulator.provision(tbprov, "memory"), cwd=folder, env=environment)
            row("peak resident memory of `provision`", f"{peak:.1f} MiB", "< 25 MB")

        reference = [sys.executable, ROOT / "benches" / "reference.py", "localhost", str(simulator.facts["port"]), KEY]
        reference += [SECRET, simulator.facts["server_cert"]]
        probe = subprocess.run(reference + ["probe"], cwd=folder, capture_output=True, text=True)
        if probe.returncode != 0:
            print(f"skipped: the Python reference does not run here: {probe.stderr.strip().splitlines()[-1:]}")
            return
        theirs = median_of(20, lambda n: reference + [f"reference-{n}"], cwd=folder)
        row("the same by the documentation's Python example (median of 20)", milliseconds(theirs), "")
        row("ratio", f"1 / {theirs / ours:.0f}", "< 1 / 10")


def peak_memory_mib(command, **options):
    """By GNU time: a child's own figure would count this Python process, from which it is forked."""
    run = subprocess.run(["/usr/bin/time", "-f", "%M", *command], check=True, capture_output=True, text=True, **options)
    return int(run.stderr.split()[-1]) / 1024


def certs(tbprov, folder):
    if shutil.which("openssl") is None:
        print("skipped: no openssl")
        return
    cases = [
        ("ec-p256", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], 100),
        ("rsa-2048", ["rsa:2048"], 60),
        ("rsa-4096", ["rsa:4096"], 40),
    ]
    for key_type, algorithm, count in cases:
        def ours(n):
            return [tbprov, "--quiet", "certs", "gen", "--name", "d", "--key-type", key_type, "--out", folder / f"{key_type}-{n}"]

        def theirs(n):
            out = ["-keyout", folder / f"o{key_type}-{n}.key", "-out", folder / f"o{key_type}-{n}.pem"]
            return ["openssl", "req", "-x509", "-newkey", *algorithm, "-nodes", "-subj", "/CN=d", "-days", "3650", *out]

        mine, other = alternately(count, ours, theirs)
        figure = f"{milliseconds(mine)} (openssl req: {milliseconds(other)})"
        row(f"`certs gen --key-type {key_type}` (median of {count})", figure, "no slower than OpenSSL")


def telemetry(tbprov, folder, lines=1_000_000):
    environment = dict(os.environ, TBPROV_PROVISION_SECRET=SECRET)
    with Simulator(tbprov, folder) as simulator:
        subprocess.run(simulator.provision(tbprov, "stream"), cwd=folder, env=environment, check=True, capture_output=True)
        command = [tbprov, "connect", "stream", "--send-telemetry=-", "--json"]
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        early = feed(process, lines)
        result = json.loads(process.communicate()[0])
        elapsed = time.perf_counter() - begin
        assert result["telemetry"]["acknowledged"] == lines, result
        row(f"telemetry from stdin, {lines:,} lines with `ts` at QoS 1", f"{lines / elapsed:,.0f} acknowledged/s", "> 10,000/s")
        row("resident memory of `connect` after 10,000 lines and at the end", early, "flat")
        row("resident memory of `sim` at the end", f"{simulator.memory_kib() / 1024:.1f} MiB", "")


def feed(process, lines):
    def resident():
        status = Path(f"/proc/{process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024

    early = 0
    for start in range(0, lines, 1000):
        numbers = range(start, start + 1000)
        chunk = "".join(f'{{"ts":{FIRST_TIME + n},"values":{{"temperature":{n % 1000 / 10},"n":{n}}}}}\n' for n in numbers)
        process.stdin.write(chunk.encode())
        if start == 10_000:
            early = resident()
    late = resident()
    process.stdin.close()
    process.stdin = None
    return f"{early:.1f} MiB, {late:.1f} MiB"


def start(tbprov, folder):
    row("`tbprov --version` (median of 200)", milliseconds(median_of(200, lambda _: [tbprov, "--version"])), "< 5 ms")
    row("stripped binary", f"{Path(tbprov).stat().st_size / 1e6:.2f} MB", "< 11 MB")


SECTIONS = {"start": start, "provision": provision, "certs": certs, "telemetry": telemetry}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", nargs="*", choices=[[], *SECTIONS], help="what to measure")
    parser.add_argument("--tbprov", default=ROOT / "target" / "release" / "tbprov")
    arguments = parser.parse_args()
    print("| what | measured | goal |\n|---|---|---|")
    for name in arguments.section or SECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            SECTIONS[name](arguments.tbprov, Path(folder))


if __name__ == "__main__":
    main()
