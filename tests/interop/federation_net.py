"""A network of its own for servers that talk to each other, and a DNS of its own.

Each server lives in a namespace of Linux with its own addresses, so that all of them have their usual ports; between
them stands a router that can drop what passes between two of them, without a word, as a broken line does. Names are
Debian's knot's affair, which signs them (DNSSEC) under a root of its own.

All of it is within the namespaces of the process that makes it (`inside()`), and ends with that process: nothing is
changed on the machine.
"""

import hashlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from server import die_with_parent

PROGRAMS = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux", "knotd": "knot", "keymgr": "knot"}
DNS_ADDRESS = "10.77.0.53"
DNS_PORT = 53
DNS_SECONDS = 10.0
CUT = 10  # the priority of the rules that drop


def inside(command: list[str]) -> list[str]:
    """The command in namespaces of its own: network, mounts and processes. What it leaves behind is killed with it."""
    return ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *command]


def ip(*lines: str, options: tuple[str, ...] = ()) -> None:
    subprocess.run(["ip", *options, "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=20)


class Place:
    """Where one server lives."""

    def __init__(self, name: str, number: int):
        self.name = name
        self.wire = f"to{number}"  # the router's end of its wire
        self.nets = {"-4": f"10.77.{number}.0/24", "-6": f"fd77:{number}::/64"}
        self.address = f"10.77.{number}.2"
        self.address6 = f"fd77:{number}::2"

    def within(self, command: list[str]) -> list[str]:
        """The command on this server's network. It becomes the command, so it has the process id that was started."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *command]


class Net:
    """The router, which is the network of this process."""

    def __init__(self, folder: Path):
        self.places: list[Place] = []
        # These mounts are ours alone.
        subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
        resolv = folder / "resolv.conf"
        resolv.write_text(f"nameserver {DNS_ADDRESS}\noptions timeout:2 attempts:2\n")
        used = Path("/etc/resolv.conf").resolve()
        if not used.exists():  # it was below /run
            used.parent.mkdir(parents=True, exist_ok=True)
            used.touch()
        subprocess.run(["mount", "--bind", resolv, used], check=True)
        for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            Path("/proc/sys/net", name).write_text("1")
        ip("link set lo up", f"addr add {DNS_ADDRESS}/32 dev lo")

    def place(self, name: str) -> Place:
        number = len(self.places) + 1
        place = Place(name, number)
        self.places.append(place)
        router, router6 = f"10.77.{number}.1", f"fd77:{number}::1"
        subprocess.run(["ip", "netns", "add", name], check=True)
        ip(
            f"link add {place.wire} type veth peer name line netns {name}",
            f"addr add {router}/24 dev {place.wire}",
            f"addr add {router6}/64 dev {place.wire} nodad",
            f"link set {place.wire} up",
        )
        ip(
            "link set lo up",
            f"addr add {place.address}/24 dev line",
            f"addr add {place.address6}/64 dev line nodad",
            "link set line up",
            f"route add default via {router}",
            f"route add default via {router6}",
            options=("-n", name),
        )
        return place

    def cut(self, one: Place, other: Place) -> None:
        """From now on the router throws away what these two send each other."""
        self._rules("add", one, other)

    def mend(self, one: Place, other: Place) -> None:
        self._rules("del", one, other)

    def kill(self, one: Place, other: Place) -> None:
        """All connections between these two are gone. While the line is cut, neither is told by the other."""
        for here, there in ((one, other), (other, one)):
            for address in (there.address, f"[{there.address6}]"):
                subprocess.run(here.within(["ss", "--kill", "--tcp", "dst", address]), check=True, stdout=subprocess.DEVNULL)

    def _rules(self, action: str, one: Place, other: Place) -> None:
        for family in ("-4", "-6"):
            pairs = ((one, other), (other, one))
            ip(*(f"rule {action} pref {CUT} iif {a.wire} to {b.nets[family]} blackhole" for a, b in pairs), options=(family,))


class Dns:
    """An authoritative server for a root, for `example` (signed), for `open` (not signed) and for `bogus` (signed by another key than the
    root says)."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.folder.mkdir()
        self.process: subprocess.Popen | None = None
        self.log = folder / "knot.log"
        self.anchor = folder / "anchor.zone"  # the key of the root
        self.zones: dict[str, list[str]] = {zone: [] for zone in (".", "example.", "open.", "bogus.")}

    def add(self, *records: str) -> None:
        """Records as in a zone file; each goes to the zone that its name is in."""
        for record in records:
            zone = record.split()[0].rstrip(".").rpartition(".")[2] + "."
            self.zones[zone].append(record)

    def server(self, domain: str, services: list[str], place: Place, host: str, http: str | None = None) -> None:
        """What the manual tells an operator to add for a domain and its services."""
        self.add(f"{host}. A {place.address}", f"{host}. AAAA {place.address6}")
        if domain != host:
            self.add(f"{domain}. A {place.address}", f"{domain}. AAAA {place.address6}")
        for service in services:
            self.add(f"{service}.{domain}. A {place.address}", f"{service}.{domain}. AAAA {place.address6}")
        for name in (domain, *(f"{service}.{domain}" for service in services)):
            self.add(f"_xmpp-server._tcp.{name}. SRV 0 5 5269 {host}.", f"_xmpps-server._tcp.{name}. SRV 0 5 5270 {host}.")

    def tlsa(self, host: str, certificate: Path) -> None:
        """The key of this certificate is good for this host (DANE-EE, RFC 7671 section 5.1)."""
        key = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], check=True, capture_output=True).stdout
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, check=True, capture_output=True).stdout
        self.add(*(f"_{port}._tcp.{host}. TLSA 3 1 1 {hashlib.sha256(der).hexdigest()}" for port in (5269, 5270)))

    def start(self) -> None:
        config = self.folder / "knot.conf"
        signed = [zone for zone in self.zones if zone != "open."]
        config.write_text(
            f'server:\n    rundir: "{self.folder}"\n    listen: {DNS_ADDRESS}@{DNS_PORT}\n'
            f"log:\n  - target: stderr\n    any: info\n"
            f'database:\n    storage: "{self.folder}"\n'
            f"policy:\n  - id: ours\n    manual: on\n    single-type-signing: on\n    algorithm: ecdsap256sha256\n"
            f'template:\n  - id: default\n    storage: "{self.folder}"\n    zonefile-sync: -1\n    zonefile-load: whole\n'
            f"    journal-content: none\n    dnssec-policy: ours\n"
            f"zone:\n"
            + "".join(
                f"  - domain: {zone}\n    file: {file_of(zone)}\n    dnssec-signing: {'on' if zone in signed else 'off'}\n" for zone in self.zones
            )
        )

        def keys(zone: str, *words: str) -> str:
            command = ["keymgr", "-c", config, zone, *words]
            return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout

        for zone in signed:
            keys(zone, "generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes")
        for zone in self.zones:
            if zone != ".":
                self.zones["."] += [f"{zone} NS ns.example."]
        # One digest of each key is enough: `example. DS 12345 13 2 ...`.
        strong = [line for line in keys("example.", "ds").splitlines() if line.split()[4] == "2"]
        wrong = [line.replace("example.", "bogus.", 1) for line in strong]
        self.zones["."] += [*strong, *wrong]
        self.zones["example."].append(f"ns.example. A {DNS_ADDRESS}")
        for zone, records in self.zones.items():
            head = [f"$TTL 60", f"{zone} SOA ns.example. hostmaster.example. 1 3600 600 86400 60", f"{zone} NS ns.example."]
            glue = [f"ns.example. A {DNS_ADDRESS}"] if zone == "." else []
            (self.folder / file_of(zone)).write_text("\n".join(dict.fromkeys([*head, *glue, *records])) + "\n")
        fields = keys(".", "dnskey").split()
        self.anchor.write_text(f". 3600 IN DNSKEY {' '.join(fields[fields.index('DNSKEY') + 1:])}\n")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["knotd", "--config", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=die_with_parent,
            )  # fmt: skip
        deadline = time.monotonic() + DNS_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"knot does not answer:\n{self.log.read_text()[-2000:]}")

    def _answers(self) -> bool:
        """Whether it gives the signed address of ns.example."""
        name = b"\x02ns\x07example\x00"
        # With DO (RFC 3225), which wants EDNS (RFC 6891).
        query = struct.pack("!6H", 7, 0, 1, 0, 0, 1) + name + struct.pack("!HH", 1, 1) + b"\x00" + struct.pack("!HHIH", 41, 1232, 0x8000, 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            try:
                probe.sendto(query, (DNS_ADDRESS, DNS_PORT))
                answer = probe.recv(4096)
            except OSError:
                time.sleep(0.05)
                return False
        _, flags, _, answers, _, _ = struct.unpack("!6H", answer[:12])
        return flags & 15 == 0 and answers == 2  # the address and its signature

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def file_of(zone: str) -> str:
    return f"{zone.rstrip('.') or 'root'}.zone"


def missing(programs: dict[str, str]) -> list[str]:
    """The packages of the programs that are not there."""
    return sorted({package for program, package in programs.items() if shutil.which(program) is None})


def may() -> str | None:
    """Why no network can be made here, if so."""
    if sys.platform != "linux":
        return "needs namespaces of Linux"
    if os.geteuid() != 0:
        return "needs root, for namespaces of the network"
    tried = subprocess.run(inside(["true"]), capture_output=True, text=True)
    return tried.stderr.strip() if tried.returncode else None
