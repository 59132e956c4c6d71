"""The servers that talk to each other: Jackdaw, Debian's Prosody and Debian's ejabberd, each with federation on, in a place
of its own (federation_net.py), under one authority for certificates."""

import json
import os
import sqlite3
import subprocess
import urllib.request
from contextlib import closing
from glob import glob
from pathlib import Path

import server
from federation_net import Dns, Place
from server import HTTP_PORT, HTTPS_PORT, Jackdaw, Prosody

S2S_PORT = 5269
S2S_DIRECT_PORT = 5270
PROGRAMS = {"prosody": "prosody", "ejabberdctl": "ejabberd", "erl": "erlang-base"}
SHOWN_BY_DIALBACK = ("ejabberd.example", "*.ejabberd.example", "ejabberd-here.example")
SERVICES = ["conference", "upload", "pubsub"]
SLOW_START_SECONDS = 60.0  # Erlang's machine, on two cores on which everybody else starts as well


class Federated:
    """What all of them have, before what makes them this or that server."""

    place: Place
    self_signed = False
    more_domains: tuple[str, ...] = ()  # that have the same certificate
    more_names: tuple[str, ...] = ()  # in the certificate; `*.` is what it is
    measured = False  # set up as whoever has many users would, and says little (federation_bench.py)

    def set_up(self, certificates: Path, dns: Dns) -> None:
        """Certificate and DNS; then the server may be started."""
        self.folder.mkdir(mode=0o711)
        self.certificates = certificates
        self.authorities = certificates / "ca.crt"
        self.ca_file = self.authorities
        host = f"xmpp.{self.domain}"
        names = [self.domain, *(f"{service}.{self.domain}" for service in SERVICES), host, *(self.more_names or self.more_domains)]
        self.certificate, self.key = (certificates / f"{self.domain}.{end}" for end in ("crt", "key"))
        if self.self_signed:
            self.ca_file = self.certificate
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                 "-subj", "/O=Jackdaw test", "-addext", f"subjectAltName={','.join(f'DNS:{name}' for name in names)}",
                 "-keyout", self.key, "-out", self.certificate],
                check=True, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            dns.tlsa(host, self.certificate)
        else:
            super().make_certificates(certificates, ",".join(names))
        dns.server(self.domain, SERVICES, self.place, host)

    @property
    def level(self) -> str:
        return "warn" if self.measured else os.environ.get("FEDERATION_LOG", "info")

    def database(self, tables: str = "") -> Path:
        """An SQLite file with a write-ahead log, for archives."""
        path = self.folder / "archive.sqlite"
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(f"PRAGMA journal_mode=WAL; CREATE TABLE bench(a); DROP TABLE bench;\n{tables}")
        return path

    def make_certificates(self, folder: Path, name: str | None = None) -> None:
        """They are there since set_up()."""

    def command(self) -> list[str]:
        return self.place.within(super().command())


# What a crowd of strangers who write as fast as they can would meet, and is not what is measured.
FREE = {
    "connections_before_login_per_address": 100_000, "connections_per_second_per_address": 1_000_000,
    "read_bytes_per_second": 1 << 40, "read_burst_bytes": 1 << 40, "stranger_messages_per_hour": 1 << 31,
    "stranger_messages_per_hour_in_all": 1 << 31,
}  # fmt: skip


class FederatedJackdaw(Federated, Jackdaw):
    def __init__(self, folder: Path, binary: Path, domain: str, place: Place, anchor: Path, self_signed: bool = False):
        super().__init__(folder, binary, domain, place.address)
        self.place = place
        self.anchor = anchor
        self.self_signed = self_signed
        self.resolver = "10.77.0.53:53"

    def prepare(self) -> None:
        domains = "".join(
            f'[[domain]]\nname = "{name}"\ncertificate = "{self.certificate}"\nkey = "{self.key}"\n\n'
            for name in (self.domain, *self.more_domains)
        )
        limits = "[limits]\n" + "".join(f"{key} = {value}\n" for key, value in FREE.items()) if self.measured else ""
        listeners = {
            "c2s": self.port, "c2s-direct": self.direct_port, "https": self.https_port, "s2s": S2S_PORT,
            "s2s-direct": S2S_DIRECT_PORT,
        }  # fmt: skip
        self.config.write_text(
            f'data = "{self.folder / "data"}"\n\n[log]\nlevel = "{self.level}"\n\n{limits}\n{domains}'
            + "".join(f'[[listen]]\nkind = "{kind}"\naddress = "[::]:{port}"\n\n' for kind, port in listeners.items())
            + f'[federation]\nresolver = ["{self.resolver}"]\ntrust_anchor = "{self.anchor}"\nauthorities = "{self.authorities}"\n'
            "retry_seconds = 1\nlongest_retry_seconds = 5\n"
            # ejabberd 23.01 takes a server's certificate only if that is meant for clients too, which public authorities no longer
            # issue; then this is the only way to show it who we are.
            + "".join(f'\n[[federation.peer]]\ndomain = "{name}"\ndialback = true\n' for name in SHOWN_BY_DIALBACK)
        )
        (self.folder / "data").mkdir(exist_ok=True)


    def why(self) -> None:
        """Writes down what it knows of the others, for who looks into a failure."""
        for domain in ("rook.example", "jackdaw.example", "prosody.example", "ejabberd.example"):
            for name in (domain, f"conference.{domain}"):
                told = subprocess.run([self.binary, "--config", self.config, "why", name], capture_output=True, text=True, timeout=20)
                with (self.folder / "why.log").open("a") as log:
                    log.write(f"== {name}\n{told.stdout}{told.stderr}\n")


class FederatedProsody(Federated, Prosody):
    """With lua-unbound, which reads /etc/resolv.conf and gets the root's key."""

    def __init__(self, folder: Path, domain: str, place: Place, anchor: Path):
        super().__init__(folder, domain, place.address)
        self.place = place
        self.anchor = anchor
        self.https_port = HTTPS_PORT

    def prepare(self) -> None:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        storage = 'storage = "internal"'
        if self.measured:
            storage = (
                'storage = { archive = "sql"; muc_log = "sql"; offline = "sql" }; default_storage = "internal"\n'
                f'sql = {{ driver = "SQLite3"; database = "{self.database()}" }}\n'
                'archive_expires_after = "never"; gc = { mode = "generational" }\n'
                "network_settings = { tcp_backlog = 4096; nagle = false }\n"
            )
        tls = f'certificate = "{self.certificate}"; key = "{self.key}"; cafile = "{self.authorities}"'
        (self.folder / "prosody.cfg.lua").write_text(f"""
run_as_root = true; daemonize = false; pidfile = "{self.folder}/prosody.pid"; data_path = "{data}"
log = {{ {self.level} = "*console" }}
unbound = {{ resolvconf = "/etc/resolv.conf"; trustfile = "{self.anchor}" }}
use_dane = true
modules_enabled = {{ "roster"; "saslauth"; "tls"; "dialback"; "disco"; "ping"; "version"; "time"; "offline"; "posix"; "smacks";
  "carbons"; "mam"; "pep"; "vcard_legacy"; "private"; "blocklist"; "bookmarks"; "s2s_bidi" }}
modules_disabled = {{ "register" }}
interfaces = {{ "*", "::" }}
c2s_ports = {{ {self.port} }}; c2s_direct_tls_ports = {{ {self.direct_port} }}
s2s_ports = {{ {S2S_PORT} }}; s2s_direct_tls_ports = {{ {S2S_DIRECT_PORT} }}
http_ports = {{}}; https_ports = {{ {HTTPS_PORT} }}
c2s_require_encryption = true; s2s_require_encryption = true; s2s_secure_auth = true
ssl = {{ {tls} }}
https_ssl = {{ {tls} }}; c2s_direct_tls_ssl = {{ {tls} }}; s2s_direct_tls_ssl = {{ {tls} }}
authentication = "internal_plain"
{storage}
http_file_share_expires_after = 3600
VirtualHost "{self.domain}"
  disco_items = {{ {{ "upload.{self.domain}" }} }}
Component "conference.{self.domain}" "muc"
  modules_enabled = {{ "muc_mam" }}
  muc_room_default_persistent = true
Component "upload.{self.domain}" "http_file_share"
""")


class FederatedEjabberd(Federated, server.Server):
    name = "ejabberd"
    start_seconds = SLOW_START_SECONDS

    def __init__(self, folder: Path, domain: str, place: Place):
        super().__init__(folder, domain, place.address)
        self.place = place
        self.https_port = HTTPS_PORT

    def prepare(self) -> None:
        pem = self.folder / "certificate.pem"
        pem.write_text(self.certificate.read_text() + self.key.read_text())
        config = self.folder / "ejabberd.yml"
        database = kind = ""
        if self.measured:
            schema = next(Path(file).read_text() for file in glob("/usr/lib/*/ejabberd-*/priv/sql/lite.sql"))
            database, kind = f'sql_type: sqlite\nsql_database: "{self.database(schema)}"', "db_type: sql"
        config.write_text(f"""
hosts: ["{self.domain}"]
loglevel: {self.level.replace("warn", "warning")}
certfiles: ["{pem}"]
ca_file: "{self.authorities}"
auth_method: internal
s2s_use_starttls: required
{database}
listen:
  - {{ port: {self.port}, ip: "::", module: ejabberd_c2s, starttls_required: true, max_stanza_size: 262144 }}
  - {{ port: {self.direct_port}, ip: "::", module: ejabberd_c2s, tls: true, max_stanza_size: 262144 }}
  - {{ port: {S2S_PORT}, ip: "::", module: ejabberd_s2s_in }}
  - {{ port: {S2S_DIRECT_PORT}, ip: "::", module: ejabberd_s2s_in, tls: true }}
  - {{ port: {HTTPS_PORT}, ip: "::", module: ejabberd_http, tls: true, request_handlers: {{ /upload: mod_http_upload }} }}
  - {{ port: {HTTP_PORT}, ip: "::", module: ejabberd_http, request_handlers: {{ /api: mod_http_api }} }}
api_permissions:
  tests: {{ from: [mod_http_api], who: all, what: [register] }}
access_rules:
  everybody: {{ allow: all }}
shaper_rules:
  max_user_sessions: 100
modules:
  mod_caps: {{}}
  mod_carboncopy: {{}}
  mod_disco: {{}}
  mod_http_api: {{}}
  mod_http_upload: {{ access: everybody, put_url: "https://{self.domain}:{HTTPS_PORT}/upload", docroot: "{self.folder}/files" }}
  mod_last: {{}}
  mod_mam: {{ default: always, assume_mam_usage: false{kind and ', ' + kind} }}
  mod_muc: {{ access: everybody, access_create: everybody, default_room_options: {{ mam: true, persistent: true }} }}
  mod_offline: {{ {kind} }}
  mod_ping: {{}}
  mod_pubsub: {{ plugins: [flat, pep] }}
  mod_roster: {{ versioning: true }}
  mod_s2s_dialback: {{}}
  mod_stream_mgmt: {{}}
  mod_vcard: {{}}
  mod_vcard_xupdate: {{}}
  mod_avatar: {{}}
  mod_version: {{}}
""")

    def command(self) -> list[str]:
        library = Path(sorted(glob("/usr/lib/*/ejabberd-[0-9]*"))[0]).parent
        place = {
            "EJABBERD_CONFIG_PATH": self.folder / "ejabberd.yml", "EJABBERD_LOG_PATH": self.folder / "ejabberd-own.log",
            "ERL_LIBS": library, "ERL_CRASH_DUMP_BYTES": 0, "HOME": self.folder,
        }  # fmt: skip
        return self.place.within(
            ["env", *(f"{name}={value}" for name, value in place.items()), "erl", "-noinput", "+sbwt", "none", "+sbwtdcpu", "none",
             "+sbwtdio", "none", "-mnesia", "dir", f'"{self.folder}/data"', "-s", "ejabberd"]
        )  # fmt: skip

    def create(self, jid: str, password: str) -> None:
        local, domain = jid.split("@")
        body = json.dumps({"user": local, "host": domain, "password": password}).encode()
        request = urllib.request.Request(f"http://{self.address}:{HTTP_PORT}/api/register", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()
