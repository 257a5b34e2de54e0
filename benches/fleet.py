#!/usr/bin/env python3
"""Runs fleets against `tbprov sim`, client and server on the same two processors.

    cargo build --release
    python3 benches/fleet.py --dir /somewhere/on/a/disk          # everything: about an hour
    python3 benches/fleet.py run --devices 2000                  # a quick try of each section
    python3 benches/fleet.py import --rows 10000
    python3 benches/fleet.py sweep --seconds 5 --jobs 1,16,auto --servers plain,far

`run`: a manifest is imported and run, killed with SIGKILL in the middle, and run to its end. Every row has to be proved,
and the server has to have exactly as many devices. `import`: a large manifest, and `fleet status` on it. `sweep`: on
slow, far and limited servers, numbers of devices at once are compared with `--jobs auto`, each for the same time.

Prints Markdown rows for docs/performance.md. Exit code 1 if a row was lost, failed or registered twice.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from measure import KEY, ROOT, SECRET, row

JOBS = ["1", "2", "4", "8", "16", "32", "64", "128", "auto"]

# What makes the server slow, how many times longer it is looked at, and the most devices a second that it can have.
SERVERS = {
    "plain": ([], 1, 3000),
    "stalls": (["--fault", "core-stalls=8s/2s"], 1, 3000),
    "one-at-a-time": (["--fault", "core=1x20ms"], 1, 50),
    "thingsboard": (["--fault", "core=4x35ms"], 1, 115),
    "far": (["--fault", "latency=50ms"], 1, 2000),
    "far-thingsboard": (["--fault", "core=4x35ms", "--fault", "latency=50ms"], 1, 115),
    "rate-limit": (["--tenant-connect-limit", "50:1"], 1, 60),
    "long-stalls": (["--fault", "core-stalls=20s/12s"], 3, 3000),
    "address-filter": (["--fault", "core-stalls=20s/12s", "--fault", "address-filter=10"], 3, 3000),
}


def memory_peak(pid):
    """Megabytes that a process had at the most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1000


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(size):
    return f"{size:.0f} MB"


class Command:
    """A command that was started."""

    def __init__(self, arguments, place):
        self.output = tempfile.TemporaryFile()
        self.begin = time.perf_counter()
        self.process = subprocess.Popen(
            arguments, cwd=place.folder, env=place.environment, stdout=self.output, stderr=subprocess.DEVNULL
        )

    def is_running(self):
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def end(self, *codes):
        """Waits for its end. Its result, time, peak memory in megabytes and processor time are known then."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self.seconds = time.perf_counter() - self.begin
        self.memory = usage.ru_maxrss / 1000
        self.cpu = usage.ru_utime + usage.ru_stime
        self.process.returncode = code = os.waitstatus_to_exitcode(status)
        self.output.seek(0)
        lines = self.output.read().splitlines()
        self.result = json.loads(lines[-1]) if lines else {}
        if codes and code not in codes:
            raise RuntimeError(f"exit code {code}: {self.result}")
        return self


class Place:
    """A ledger in a folder of its own, and a server."""

    def __init__(self, tbprov, parent, server=()):
        self.tbprov, self.parent, self.options = tbprov, parent, server
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("TBPROV_")}
        self.environment["TBPROV_PROVISION_SECRET"] = SECRET

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(dir=self.parent)
        self.folder = Path(self.temporary.name)
        ready = self.folder / "ready.json"
        command = [self.tbprov, "--quiet", "sim", "--port", "0", "--rest-port", "0", "--ready-file", ready]
        command += ["--dir", self.folder / "sim", "--provision-key", KEY, "--provision-secret", SECRET, *self.options]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not ready.exists():
            if self.server.poll() is not None:
                raise RuntimeError(f"{self.tbprov} sim ended with exit code {self.server.returncode}")
            time.sleep(0.01)
        self.facts = json.loads(ready.read_text())
        return self

    def __exit__(self, *_):
        self.server.terminate()
        self.server.wait()
        self.temporary.cleanup()

    def start(self, *arguments):
        return Command([self.tbprov, "fleet", *arguments, "--json", "--ledger", self.folder / "fleet.db"], self)

    def fleet(self, *arguments):
        return self.start(*arguments).end(0)

    def manifest(self, rows):
        path = self.folder / "manifest.csv"
        with path.open("w") as manifest:
            manifest.write("name,label,serial\n")
            manifest.writelines(f"sensor-{number:07},Hall {number % 40},SN{number:09}\n" for number in range(rows))
        return path

    def run(self, *arguments):
        """Arguments of a run against the server."""
        server = ["--host", "localhost", "--port", str(self.facts["port"]), "--server-cert", self.facts["server_cert"]]
        return ["run", *server, "--provision-key", KEY, *arguments]

    def proved(self):
        return self.fleet("status").result["states"].get("proved", 0)

    def rest(self, path, body=None, token=None):
        port = self.facts["api_url"].rsplit(":", 1)[1]
        headers = {"Content-Type": "application/json"}
        if token:
            headers["X-Authorization"] = f"Bearer {token}"
        data = body and json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def devices(self):
        """How many devices the server has."""
        login = {"username": self.facts["api_user"], "password": self.facts["api_password"]}
        token = self.rest("/api/auth/login", login)["token"]
        return self.rest("/api/tenant/devices?pageSize=1&page=0", token=token)["totalElements"]


def run_killed(tbprov, parent, devices):
    """Prints rows for one fleet. Tells what went wrong."""
    with Place(tbprov, parent) as place:
        imported = place.fleet("import", place.manifest(devices))
        row(f"import of {devices:,} rows", f"{imported.seconds:.1f} s, {megabytes(imported.memory)}", "")

        run, done = place.start(*place.run()), 0
        while done < devices * 0.4 and run.is_running():
            time.sleep(1)
            done = place.proved()
        if not run.is_running():
            raise RuntimeError("the run ended before it was killed")
        memory = memory_peak(run.process.pid)
        run.process.kill()
        killed = run.end(-signal.SIGKILL).seconds
        done = place.proved()
        row(f"the first {done:,} of {devices:,} devices, then SIGKILL", f"{done / killed:,.0f} a second", "1,000")

        first = place.fleet(*place.run("--limit", "1"))
        row("after that, from the start of a run to its exit after one device", f"{first.seconds:.2f} s", "1 s")
        rest = place.start(*place.run()).end(0, 6)
        result = rest.result
        again = result["provisioned"] + result["recovered"] + result["verified"]
        rate, cpu, server_cpu = again / rest.seconds, rest.cpu, cpu_seconds(place.server.pid)
        found = f"{result['recovered']} of them found at the server"
        row(f"the other {again:,} devices, {found}", f"{rate:,.0f} a second", "1,000")
        row("processor time of `fleet run`, for each of them", f"{cpu / again * 1000:.2f} ms", "")
        row("processor time of `sim`, for each device", f"{server_cpu / devices * 1000:.2f} ms", "")
        row("peak memory of `fleet run`", megabytes(max(memory, rest.memory)), "150 MB")
        row("peak memory of `sim` (REST API on)", megabytes(memory_peak(place.server.pid)), "150 MB")
        size = sum(file.stat().st_size for file in place.folder.glob("fleet.db*"))
        row("the ledger, for each device", f"{size / devices:,.0f} bytes", "")

        verified = place.fleet("status").result
        proved, at_server = verified["states"].get("proved", 0), place.devices()
        row("rows proved; devices at the server", f"{proved:,}; {at_server:,}", f"{devices:,}; {devices:,}")
        wrong = [] if result["failed"] == 0 else [f"{result['failed']} rows failed"]
        wrong += [] if proved == devices else [f"{proved} of {devices} rows are proved"]
        return wrong + ([] if at_server == devices else [f"the server has {at_server} devices"])


def import_rows(tbprov, parent, rows):
    """Prints rows for the import of a large manifest, and for `fleet status` on it."""
    with Place(tbprov, parent) as place:
        manifest = place.manifest(rows)
        for what in ["import", "import of the same again"]:
            imported = place.fleet("import", manifest)
            figure = f"{imported.seconds:.1f} s, {megabytes(imported.memory)}"
            row(f"{what} of {rows:,} rows (three columns)", figure, "10 s" if what == "import" else "")
        status = statistics.median(place.fleet("status").seconds for _ in range(9))
        row(f"`fleet status` on {rows:,} rows (median of 9)", f"{status * 1000:.0f} ms", "200 ms")
        size = sum(file.stat().st_size for file in place.folder.glob("fleet.db*"))
        row(f"the ledger of {rows:,} rows", megabytes(size / 1e6), "")


def measured(tbprov, parent, server, jobs, seconds):
    """Devices a second within so many seconds, and what went wrong."""
    options, times, most = SERVERS[server]
    with Place(tbprov, parent, options) as place:
        place.fleet("import", "--count", str(int(seconds * times * most) + 500), "--name", "sensor-{:07}")
        run = place.start(*place.run("--jobs", jobs))
        end = run.begin + seconds * times
        while run.is_running() and time.perf_counter() < end:
            time.sleep(0.02)
        has_ended, took = not run.is_running(), time.perf_counter() - run.begin
        done = place.proved()
        run.process.send_signal(signal.SIGINT)
        ended = run.end()
        wrong = []
        if has_ended or ended.result.get("failed") != 0:
            wrong.append(f"{server}, {jobs} at once: {ended.result}")
        return done / took, wrong


def sweep(tbprov, parent, servers, numbers, seconds, repeats):
    """Prints a table of all servers and numbers. Tells what went wrong."""
    wrong = []
    print("| server | " + " | ".join(numbers) + " | of the best |", flush=True)
    print("|---|" + "---|" * (len(numbers) + 1), flush=True)
    for server in servers:
        rates = {jobs: [] for jobs in numbers}
        for _ in range(repeats):
            for jobs in numbers:
                rate, faults = measured(tbprov, parent, server, jobs, seconds)
                rates[jobs].append(rate)
                wrong += faults
        medians = {jobs: statistics.median(measurements) for jobs, measurements in rates.items()}
        best = max((rate for jobs, rate in medians.items() if jobs != "auto"), default=0)
        part = f"{medians['auto'] / best:.0%}" if "auto" in medians and best else ""
        figures = " | ".join(f"{rate:.0f}" for rate in medians.values())
        print(f"| {server} | {figures} | {part} |", flush=True)
    return wrong


def check_disk(parent):
    """Warns where nothing is durable."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", parent], capture_output=True, text=True).stdout.strip()
    if kind in ("tmpfs", "ramfs"):
        print(f"{parent} is in memory ({kind}): name a folder on a disk by --dir", file=sys.stderr)


def two_processors():
    processors = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, processors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help="run, import, sweep; else all")
    parser.add_argument("--tbprov", type=Path, default=ROOT / "target" / "release" / "tbprov")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a folder on a disk")
    parser.add_argument("--devices", type=int, default=100_000, help="devices of the run that is killed")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large manifest")
    parser.add_argument("--seconds", type=float, default=20, help="of each run of the sweep")
    parser.add_argument("--repeats", type=int, default=1, help="of the sweep: medians are shown")
    parser.add_argument("--jobs", default=",".join(JOBS), help="numbers of the sweep")
    parser.add_argument("--servers", default=",".join(SERVERS), help="servers of the sweep")
    arguments = parser.parse_args()
    sections = arguments.sections or ["run", "import", "sweep"]
    servers, numbers = arguments.servers.split(","), arguments.jobs.split(",")
    if unknown := (set(sections) - {"run", "import", "sweep"}) | (set(servers) - set(SERVERS)):
        parser.error(f"unknown: {' '.join(sorted(unknown))}")
    check_disk(arguments.dir)
    two_processors()
    tbprov, parent, wrong = arguments.tbprov.resolve(), arguments.dir, []
    if "run" in sections:
        wrong += run_killed(tbprov, parent, arguments.devices)
    if "import" in sections:
        import_rows(tbprov, parent, arguments.rows)
    if "sweep" in sections:
        wrong += sweep(tbprov, parent, servers, numbers, arguments.seconds, arguments.repeats)
    for fault in wrong:
        print(fault, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
