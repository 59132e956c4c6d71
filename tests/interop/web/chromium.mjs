// Headless Chromium for the scripts here, and a web server for the files of the clients.

import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const STEP_MILLISECONDS = 25_000;
const MODULES = fileURLToPath(new URL("node_modules", import.meta.url));
const PROGRAM = "/usr/bin/chromium";
const TYPES = { ".css": "text/css", ".js": "text/javascript", ".json": "application/json", ".wasm": "application/wasm" };

// What the pages of Converse.js have in common.
export const CONVERSE = {
  authentication: "login",
  auto_login: true,
  discover_connection_methods: false,
  assets_path: "/converse.js/dist/",
  view_mode: "fullscreen",
  i18n: "en",
  theme: "default",
};

// A browser that finds the domain at the address and knows no other name, and what opens a page in it.
export async function launch(domain, address) {
  const files = createServer((request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    if (path === "/") {
      response.setHeader("content-type", "text/html; charset=utf-8");
      return response.end("<!doctype html><html><head></head><body></body></html>");
    }
    response.setHeader("content-type", TYPES[extname(path)] ?? "application/octet-stream");
    createReadStream(join(MODULES, path))
      .on("error", () => response.writeHead(404).end())
      .pipe(response);
  });
  await new Promise((listening) => files.listen(0, "127.0.0.1", listening));
  const site = `http://127.0.0.1:${files.address().port}`;

  const browser = await chromium.launch({
    executablePath: PROGRAM,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // The certificate is of a test CA; that clients check it is shown by others.
      "--ignore-certificate-errors",
      // No other host is asked for anything.
      `--host-resolver-rules=MAP ${domain} ${address}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE ${address}`,
    ],
  });

  async function open() {
    // A context of its own: no storage of another run.
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    page.setDefaultTimeout(STEP_MILLISECONDS);
    page.on("console", (message) => message.type() === "error" && console.error(message.text()));
    page.on("pageerror", (error) => console.error(error.stack));
    await page.goto(`${site}/`);
    return page;
  }

  async function close() {
    await browser.close();
    files.close();
  }

  return { open, close };
}

// What runs in a page: Converse.js. The address of its server is `service` as soon as it is connected; `api` is
// what its plugins have.
export async function converse(options) {
  const sheet = document.createElement("link");
  Object.assign(sheet, { rel: "stylesheet", href: "/converse.js/dist/converse.min.css" });
  document.head.append(sheet);
  document.body.append(document.createElement("converse-root"));
  const { default: converse } = await import("/converse.js/dist/converse.min.js");
  converse.plugins.add("interop-test", {
    initialize() {
      window.api = this._converse.api;
      window.api.listen.on("connected", () => {
        window.service = window.api.connection.get().service;
      });
    },
  });
  converse.initialize({ ...options, whitelisted_plugins: ["interop-test"] });
}
