"""slixmpp sends a file (XEP-0363): it finds the service, uploads and downloads; also through nginx as the manual has it."""

import asyncio
import shutil
import ssl
import subprocess
from io import BytesIO
from pathlib import Path

from aiohttp import ClientSession, TCPConnector
from aiohttp.abc import AbstractResolver
from slixmpp.exceptions import IqError
from slixmpp.plugins.xep_0363 import http_upload

from checks import Checks, Failed, Group
from peer import Peer
from server import HTTP_PORT, PROXY_ADDRESS, ROOT, Server, die_with_parent

NAME = "très cool, 100%.jpg"
BYTES = bytes(range(256)) * 7000  # 1.8 MB: more than nginx takes if nobody tells it to
NGINX_PORT = 15443


class Here(AbstractResolver):
    """The domain of the tests is in no DNS."""

    def __init__(self, server: Server):
        self.address = server.address

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict]:
        return [{"hostname": host, "host": self.address, "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if server.name != "jackdaw":
        return
    context = ssl.create_default_context(cafile=server.ca_file)

    def session(**options) -> ClientSession:
        return ClientSession(connector=TCPConnector(ssl=context, resolver=Here(server)), **options)

    http_upload.ClientSession = session
    account = await server.add_account("files")
    for direct in (False, True):
        check = checks.group(f"files, slixmpp {'direct TLS' if direct else 'STARTTLS'}")
        peer = Peer(server, account, direct=direct)
        peer.register_plugin("xep_0363")
        try:
            await check.step("logs in", peer.login())
            await sends(check, server, peer, session)
            if direct:
                await through_nginx(check, server, peer, session, folder)
        except Failed:
            pass
        finally:
            peer.close()


async def sends(check: Group, server: Server, peer: Peer, session) -> None:
    async def finds() -> None:
        info = await peer["xep_0363"].find_upload_service(timeout=10)
        if info is None or info["from"] != f"upload.{server.domain}":
            raise AssertionError(f"found {info and info['from']}")

    await check.step("finds the service", finds())
    file = peer["xep_0363"].upload_file

    async def upload(purpose: str | None = None) -> str:
        return await file(NAME, len(BYTES), "image/jpeg", input_file=BytesIO(BYTES), purpose=purpose, timeout=10)

    url = await check.step("uploads a file", upload())
    limit = peer["xep_0363"].max_file_size
    check.expect("it has read the limit", limit == 100_000_000, f"it has read {limit}")
    await check.step("uploads a picture of its profile", upload("profile"))
    await check.step("downloads it", downloads(session, url))

    async def too_large() -> None:
        try:
            await peer["xep_0363"].request_slot(f"upload.{server.domain}", NAME, 1 << 40, "image/jpeg", timeout=10)
        except IqError as error:
            if error.condition != "not-acceptable":
                raise AssertionError(error.condition) from error
            return
        raise AssertionError("it may upload a terabyte")

    await check.step("what is too large is refused", too_large())


async def downloads(session, url: str) -> None:
    async with session() as http, http.get(url) as answer:
        if answer.status != 200 or await answer.read() != BYTES:
            raise AssertionError(f"status {answer.status}")
        if answer.headers["Content-Type"] != "image/jpeg":
            raise AssertionError(str(answer.headers))
    async with session() as http, http.get(url, headers={"Range": "bytes=1000-1999"}) as answer:
        if answer.status != 206 or await answer.read() != BYTES[1000:2000]:
            raise AssertionError(f"status {answer.status} for a part")


async def through_nginx(check: Group, server: Server, peer: Peer, session, folder: Path) -> None:
    if shutil.which("nginx") is None:
        check.expect("nginx", False, "not installed: apt-get install nginx-light")
        return
    manual = (ROOT / "docs" / "manual.md").read_text()
    locations = manual.split("```nginx\n", 1)[1].split("```", 1)[0]
    locations = locations.replace("http://127.0.0.1:5280", f"http://{server.address}:{HTTP_PORT}")
    crt, key = (server.certificates / f"{server.domain}.{end}" for end in ("crt", "key"))
    folder.chmod(0o711)
    config = folder / "nginx-files.conf"
    config.write_text(
        f"pid {folder}/nginx-files.pid;\ndaemon off;\nmaster_process off;\nevents {{}}\nhttp {{\naccess_log off;\n"
        f"client_body_temp_path {folder}/nginx-body;\nproxy_temp_path {folder}/nginx-proxy;\n"
        f"server {{\nlisten {server.address}:{NGINX_PORT} ssl;\nssl_certificate {crt};\nssl_certificate_key {key};\n"
        f"proxy_bind {PROXY_ADDRESS};\n{locations}\n}}\n}}\n"
    )
    log = folder / "nginx-files.log"
    process = subprocess.Popen(
        ["nginx", "-c", str(config), "-e", str(log)], stdin=subprocess.DEVNULL, preexec_fn=die_with_parent
    )
    try:

        async def listens() -> None:
            async def reached() -> bool:
                try:
                    _, writer = await asyncio.open_connection(server.address, NGINX_PORT)
                    writer.close()
                    return True
                except OSError:
                    return False

            while not await reached():
                if process.poll() is not None:
                    raise AssertionError(log.read_text())
                await asyncio.sleep(0.05)

        await check.step("nginx starts with what the manual says", listens())

        async def sends_through() -> str:
            slot = await peer["xep_0363"].request_slot(
                f"upload.{server.domain}", NAME, len(BYTES), "image/jpeg", timeout=10
            )
            url = slot["http_upload_slot"]["put"]["url"].replace(f":{server.https_port}/", f":{NGINX_PORT}/")
            async with session() as http, http.put(url, data=BYTES, headers={"Content-Type": "image/jpeg"}) as answer:
                if answer.status != 201:
                    raise AssertionError(f"status {answer.status}")
            return url

        url = await check.step("uploads through nginx", sends_through())
        await check.step("downloads through nginx", downloads(session, url))
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 10)
