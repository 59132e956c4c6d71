// Browser clients in headless Chromium: Strophe.js over BOSH, and Converse.js over WebSocket and over BOSH.
// Arguments: BOSH's address, WebSocket's, the domain, the server's IP address, and for each of two persons name and
// password. Prints a line of JSON for each step. Files of the clients come from a web server of this script.

import { CONVERSE, converse, launch } from "./chromium.mjs";

const [bosh, websocket, domain, address, ...names] = process.argv.slice(2);
const [juliet, romeo] = [0, 2].map((at) => ({ jid: `${names[at]}@${domain}`, password: names[at + 1] }));

function tell(step, what = {}) {
  console.log(JSON.stringify({ step, ...what }));
}

const { open, close } = await launch(domain, address);

// What runs in a page: a person with Strophe.js.
async function strophe() {
  const { Strophe, $pres, $msg, $iq } = await import("/strophe.js/dist/strophe.esm.js");
  const names = Object.fromEntries(Object.entries(Strophe.Status).map(([name, number]) => [number, name]));
  window.Person = class {
    constructor(service, jid, password) {
      this.statuses = [];
      this.presences = [];
      this.bodies = [];
      this.connection = new Strophe.Connection(service);
      this.connection.connect(jid, password, (status) => this.statuses.push(names[status]));
      const note = (kind, take) => this.connection.addHandler((stanza) => take(stanza) || true, null, kind);
      note("presence", (stanza) => {
        this.presences.push([Strophe.getBareJidFromJid(stanza.getAttribute("from")), stanza.getAttribute("type")].join(" "));
      });
      note("message", (stanza) => {
        const body = stanza.querySelector("body");
        if (body) this.bodies.push(body.textContent);
      });
    }

    presence(attributes) {
      this.connection.send($pres(attributes));
    }

    says(to, body) {
      this.connection.send($msg({ to, type: "chat" }).c("body").t(body));
    }

    roster() {
      const query = $iq({ type: "get" }).c("query", { xmlns: "jabber:iq:roster" });
      return new Promise((resolve, reject) =>
        this.connection.sendIQ(
          query,
          (answer) =>
            resolve([...answer.querySelectorAll("item")].map((i) => `${i.getAttribute("jid")} ${i.getAttribute("subscription")}`)),
          () => reject(new Error("no roster")),
          20_000,
        ),
      );
    }
  };
  window.people = {};
}

const page = await open();
await page.evaluate(strophe);

function start(name, { jid, password }) {
  return page.evaluate(
    ([name, ...words]) => {
      window.people[name] = new window.Person(...words);
    },
    [name, bosh, jid, password],
  );
}

// Until the list of the person has the value.
function has(name, list, value) {
  return page.waitForFunction(([n, l, v]) => window.people[n][l].includes(v), [name, list, value]);
}

function does(name, method, ...words) {
  return page.evaluate(([n, m, w]) => window.people[n][m](...w), [name, method, words]);
}

await start("wrong", { ...juliet, password: `${juliet.password}-not` });
await has("wrong", "statuses", "AUTHFAIL");
tell("refused", { statuses: await page.evaluate(() => window.people.wrong.statuses) });

for (const [name, person] of Object.entries({ juliet, romeo })) {
  await start(name, person);
  await has(name, "statuses", "CONNECTED");
  await does(name, "presence", {});
}
tell("login", {
  mechanisms: await page.evaluate(() => ["juliet", "romeo"].map((n) => window.people[n].connection._sasl_mechanism?.mechname)),
});

// Both see each other from now on.
for (const [name, other, one, two] of [
  ["juliet", "romeo", juliet, romeo],
  ["romeo", "juliet", romeo, juliet],
]) {
  await does(name, "presence", { to: two.jid, type: "subscribe" });
  await has(other, "presences", `${one.jid} subscribe`);
  await does(other, "presence", { to: one.jid, type: "subscribed" });
  await has(name, "presences", `${two.jid} subscribed`);
  await has(name, "presences", `${two.jid} `);
}
tell("presence");
tell("roster", { items: await does("juliet", "roster"), wanted: [`${romeo.jid} both`] });

await does("juliet", "says", romeo.jid, "from juliet");
await has("romeo", "bodies", "from juliet");
await does("romeo", "says", juliet.jid, "from romeo & <co>");
await has("juliet", "bodies", "from romeo & <co>");
tell("chat");

await page.evaluate(() => window.people.juliet.connection.disconnect("the end"));
await has("juliet", "statuses", "DISCONNECTED");
await has("romeo", "presences", `${juliet.jid} unavailable`);
tell("disconnect");

// Without a password: a domain is enough, and the server makes up a name.
for (const name of ["guest", "other"]) {
  await start(name, { jid: `guests.${domain}`, password: null });
  await has(name, "statuses", "CONNECTED");
  await does(name, "presence", {});
}
const guests = await page.evaluate(() => ["guest", "other"].map((n) => window.people[n].connection.jid));
await does("guest", "says", guests[1], "from a guest");
await has("other", "bodies", "from a guest");
tell("guests", { jids: guests });

// Juliet has Converse.js; romeo is still there with Strophe.js.
for (const [transport, option] of [
  ["WebSocket", { websocket_url: websocket }],
  ["BOSH", { bosh_service_url: bosh }],
]) {
  const page = await open();
  await page.evaluate(converse, {
    ...CONVERSE,
    ...option,
    ...juliet,
  });
  await page.waitForFunction(() => window.service);
  tell(`${transport} login`, { service: await page.evaluate(() => window.service), wanted: Object.values(option)[0] });

  const contact = page.locator(`converse-roster a.open-chat[data-jid="${romeo.jid}"]`);
  await contact.locator(".contact-name--online").waitFor();
  tell(`${transport} contact`);

  await contact.click();
  const hello = `hello by ${transport}`;
  await does("romeo", "says", juliet.jid, hello);
  await page.locator(".chat-msg__text", { hasText: hello }).first().waitFor();
  tell(`${transport} receives`);

  const answer = `answer by ${transport}`;
  await page.locator("textarea.chat-textarea").fill(answer);
  await page.locator("textarea.chat-textarea").press("Enter");
  await has("romeo", "bodies", answer);
  tell(`${transport} sends`);
  await page.context().close();
}

const bodies = await page.evaluate(() => window.people.romeo.bodies);
await close();
tell("end", { bodies, wanted: ["from juliet", "answer by WebSocket", "answer by BOSH"] });
process.exit(0);
