"""The server under test, behind one small shape: start(), stop(), add_account(), and where it listens.

Everything else here talks to `Server` only, so the same checks run against Jackdaw and, to know that the checks
themselves are right, against Debian's Prosody (`run.py --server prosody`).
"""

import asyncio
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
STOP_SECONDS = 5.0  # what the command line promises for SIGTERM
STARTTLS_PORT = 5222
DIRECT_TLS_PORT = 5223
HTTPS_PORT = 5443
HTTP_PORT = 5280  # of proxies that end TLS
PROXY_ADDRESS = "127.9.9.9"  # from which they connect: clients come from 127.0.0.1
PROXIED_STARTTLS_PORT = 15222  # as in examples/behind-a-proxy.toml
PROXIED_DIRECT_TLS_PORT = 15223


GIVEN: set[str] = set()  # addresses that somebody here has, although he may not listen yet


def free_loopback() -> str:
    """A 127.0.20.x on which the ports are free, so that parallel runs don't meet; each is given out once."""
    hosts = list(range(2, 250))
    start = os.getpid() % len(hosts)
    for last in hosts[start:] + hosts[:start]:
        address = f"127.0.20.{last}"
        if address in GIVEN:
            continue
        try:
            for port in (STARTTLS_PORT, DIRECT_TLS_PORT, HTTPS_PORT):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((address, port))
            GIVEN.add(address)
            return address
        except OSError:
            continue
    raise RuntimeError("no 127.0.20.x has ports 5222, 5223 and 5443 free")


def die_with_parent() -> None:
    """Asks the kernel for a SIGTERM when the parent ends, however it ends (PR_SET_PDEATHSIG, prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Server:
    name = "none"
    # What the server must offer; the login checks go through all of these.
    mechanisms: tuple[str, ...] = ("SCRAM-SHA-1", "PLAIN")
    start_seconds = START_SECONDS

    def __init__(self, folder: Path, domain: str = "interop.test", address: str | None = None):
        self.folder = folder
        self.domain = domain
        self.address = address or free_loopback()
        self.port = STARTTLS_PORT
        self.direct_port = DIRECT_TLS_PORT
        self.https_port: int | None = None  # the web's part of it, where there is such
        self.websocket_port: int | None = None
        self.certificates = folder / "certs"
        self.ca_file = self.certificates / "ca.crt"
        self.log = folder / f"{self.name}.log"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.make_certificates(self.certificates)
        self.prepare()
        self.launch()

    def launch(self) -> None:
        with self.log.open("ab") as log:
            # A group of its own, so that stop() ends all of it and a Ctrl-C at the terminal ends none by itself.
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
        self.wait_for_port()

    def stop(self) -> tuple[int | None, float]:
        """Ends the server with SIGTERM. Returns its exit code and the seconds it took; None when it had to be killed."""
        if self.process is None:
            return None, 0.0
        process, self.process = self.process, None
        began = time.monotonic()
        code: int | None = None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        return code, time.monotonic() - began

    async def add_account(self, local: str) -> tuple[str, str]:
        """Makes an account with a random password; returns its bare JID and the password."""
        jid, password = f"{local}@{self.domain}", secrets.token_urlsafe(12)
        await asyncio.to_thread(self.create, jid, password)
        return jid, password

    def make_certificates(self, folder: Path, name: str | None = None) -> None:
        subprocess.run(
            [ROOT / "certs" / "make.sh", folder, name or self.domain], check=True, stdout=subprocess.DEVNULL
        )

    def wait_for_port(self) -> None:
        assert self.process is not None  # launch() has just set it
        deadline = time.monotonic() + self.start_seconds
        for port in (self.port, self.direct_port):
            while True:
                try:
                    socket.create_connection((self.address, port), 1).close()
                    break
                except OSError as error:
                    code = self.process.poll()
                    if code is not None or time.monotonic() > deadline:
                        tail = self.log.read_text(errors="replace")[-2000:]
                        self.stop()
                        raise RuntimeError(
                            f"{self.name} does not listen on {self.address}:{port} ({error}; exit code {code}):\n{tail}"
                        ) from error
                    time.sleep(0.05)

    # The rest differs between servers.
    def prepare(self) -> None:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def create(self, jid: str, password: str) -> None:
        raise NotImplementedError


class Jackdaw(Server):
    name = "jackdaw"
    mechanisms = ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN")

    def __init__(self, folder: Path, binary: Path, domain: str = "interop.test", address: str | None = None):
        super().__init__(folder, domain, address)
        self.binary = binary
        self.https_port = self.websocket_port = HTTPS_PORT
        self.config = folder / "jackdaw.toml"

    def prepare(self) -> None:
        crt, key = (self.certificates / f"{self.domain}.{end}" for end in ("crt", "key"))
        self.config.write_text(
            f'data = "{self.folder / "data"}"\n\n'
            f'[[domain]]\nname = "{self.domain}"\ncertificate = "{crt}"\nkey = "{key}"\n\n'
            f'[[domain]]\nname = "guests.{self.domain}"\nguests = true\n\n'
            f'[[listen]]\nkind = "c2s"\naddress = "{self.address}:{self.port}"\ntls = "required"\n\n'
            f'[[listen]]\nkind = "c2s-direct"\naddress = "{self.address}:{self.direct_port}"\n\n'
            f'[[listen]]\nkind = "https"\naddress = "{self.address}:{self.https_port}"\n\n'
            f'[[listen]]\nkind = "http"\naddress = "{self.address}:{HTTP_PORT}"\n\n'
            f'[[listen]]\nkind = "c2s"\naddress = "{self.address}:{PROXIED_STARTTLS_PORT}"\n'
            f'proxy_protocol = ["127.0.0.0/8"]\n\n'
            f'[[listen]]\nkind = "c2s-direct"\naddress = "{self.address}:{PROXIED_DIRECT_TLS_PORT}"\n'
            f'proxy_protocol = ["127.0.0.0/8"]\n\n'
            f'[http]\ntrusted_proxies = ["{PROXY_ADDRESS}"]\n'
        )
        # Made now, so that the folder of the account commands' socket exists whether or not the server runs.
        (self.folder / "data").mkdir(exist_ok=True)

    def command(self) -> list[str]:
        return [str(self.binary), "serve", "--config", str(self.config)]

    def create(self, jid: str, password: str) -> None:
        subprocess.run(
            [self.binary, "--config", self.config, "account", "add", jid, "--password-stdin"],
            input=password + "\n", text=True, check=True, timeout=20, stdout=subprocess.DEVNULL,
        )  # fmt: skip


class Prosody(Server):
    """Debian's Prosody 0.12: the peer on which the scripts themselves were made."""

    name = "prosody"

    def __init__(self, folder: Path, domain: str = "interop.test", address: str | None = None):
        super().__init__(folder, domain, address)
        self.websocket_port = HTTPS_PORT

    def prepare(self) -> None:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        crt, key = (self.certificates / f"{self.domain}.{end}" for end in ("crt", "key"))
        (self.folder / "prosody.cfg.lua").write_text(f"""
run_as_root = true; daemonize = false; pidfile = "{self.folder}/prosody.pid"; data_path = "{data}"
log = {{ info = "*console" }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "ping"; "version"; "time"; "lastactivity"; "uptime"; "offline"; "posix";
  "smacks"; "carbons"; "mam"; "pep"; "private"; "blocklist"; "bookmarks"; "websocket" }}
modules_disabled = {{ "s2s"; "register" }}
s2s_ports = {{}}; s2s_direct_tls_ports = {{}}; http_ports = {{}}; component_ports = {{}}
https_ports = {{ {HTTPS_PORT} }}; http_external_url = "https://{self.domain}:{HTTPS_PORT}/"; cross_domain_websocket = true
c2s_ports = {{ {self.port} }}; c2s_direct_tls_ports = {{ {self.direct_port} }}
interfaces = {{ "{self.address}" }}
https_certificate = "{crt}"; https_key = "{key}"; https_ssl = {{ certificate = "{crt}"; key = "{key}" }}
c2s_require_encryption = true
c2s_direct_tls_ssl = {{ certificate = "{crt}"; key = "{key}" }}
authentication = "internal_plain"
storage = "internal"
VirtualHost "{self.domain}"
  ssl = {{ certificate = "{crt}"; key = "{key}" }}
Component "conference.{self.domain}" "muc"
  modules_enabled = {{ "muc_mam" }}; ssl = {{ certificate = "{crt}"; key = "{key}" }}
""")

    def command(self) -> list[str]:
        lua = shutil.which("lua5.4") or "lua"
        return [lua, "/usr/bin/prosody", "--config", str(self.folder / "prosody.cfg.lua"), "-F"]

    def create(self, jid: str, password: str) -> None:
        # Prosody reads an account's file at login, so writing it is all (its own tool starts a Lua for each).
        local, domain = jid.split("@")
        quote = lambda s: s.replace(".", "%2e").replace("-", "%2d").replace("_", "%5f")  # noqa: E731
        folder = self.folder / "data" / quote(domain) / "accounts"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{quote(local)}.dat").write_text(f'return {{ ["password"] = "{password}"; }};\n')
