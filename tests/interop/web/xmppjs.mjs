// @xmpp/client over WebSocket: two people, SASL2 with Bind 2 and a token, a connection that breaks and is resumed.
// Arguments: the service, the domain, the file of the CA, and for each person name and password. Prints a line of JSON for
// each step.

import { readFileSync } from "node:fs";
import { client, xml } from "@xmpp/client";
import WebSocket from "ws";

const STEP_MILLISECONDS = 20_000;
const [service, domain, authority, ...names] = process.argv.slice(2);
const ca = readFileSync(authority);

// The service is an address, and the certificate is of the domain.
globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { ca, servername: domain });
  }
};

function tell(step, what = {}) {
  console.log(JSON.stringify({ step, ...what }));
}

class Person {
  constructor(username, password) {
    this.seen = [];
    this.sent = [];
    this.waiting = [];
    this.client = client({ service, domain, username, password });
    this.client.on("element", (element) => this.note(this.seen, element));
    this.client.on("send", (element) => this.note(this.sent, element));
    this.client.on("online", (address) => this.note(this.seen, { is: (name) => name === "online", address }));
    // A connection that breaks is told here too.
    this.client.on("error", () => {});
  }

  note(list, element) {
    list.push(element);
    this.waiting = this.waiting.filter((look) => !look());
  }

  // The first of a list from `from` on that the test is true of.
  async find(list, test, what, from = 0) {
    const found = () => list.slice(from).find(test);
    if (found()) return found();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not seen: ${what}`)), STEP_MILLISECONDS);
      this.waiting.push(() => {
        const element = found();
        if (element) {
          clearTimeout(timer);
          resolve(element);
        }
        return Boolean(element);
      });
    });
  }

  bodies() {
    return this.seen.filter((element) => element.is("message")).map((element) => element.getChildText("body"));
  }

  async hears(body) {
    await this.find(this.seen, (e) => e.is("message") && e.getChildText("body") === body, body);
  }

  says(to, body) {
    return this.client.send(xml("message", { to, type: "chat" }, xml("body", {}, body)));
  }
}

const [juliet, romeo] = [new Person(names[0], names[1]), new Person(names[2], names[3])];
const [julietJid, romeoJid] = [`${names[0]}@${domain}`, `${names[2]}@${domain}`];
for (const person of [juliet, romeo]) {
  await person.client.start();
  await person.client.send(xml("presence"));
}
const first = juliet.sent.find((element) => element.is("authenticate"));
tell("login", { mechanism: first?.attrs.mechanism, jid: String(juliet.client.jid) });

await juliet.says(romeoJid, "from juliet");
await romeo.hears("from juliet");
await romeo.says(julietJid, "from romeo");
await juliet.hears("from romeo");
tell("chat");

// The line breaks without a word; the client comes back by itself.
const [seen, sent] = [juliet.seen.length, juliet.sent.length];
// Its library goes on with the login behind what it shows of it: who leaves before it is through leaves it in pieces.
const isThrough = new Promise((resolve) => juliet.client.streamManagement.on("resumed", resolve));
juliet.client.socket.socket.terminate();
await romeo.says(julietJid, "meanwhile");
const success = await juliet.find(juliet.seen, (e) => e.is("success"), "a second login", seen);
const again = juliet.sent.slice(sent).find((element) => element.is("authenticate"));
await juliet.hears("meanwhile");
await isThrough;
await juliet.says(romeoJid, "back");
await romeo.hears("back");
tell("resumed", {
  mechanism: again?.attrs.mechanism,
  resumed: Boolean(success.getChild("resumed", "urn:xmpp:sm:3")),
  bodies: juliet.bodies(),
});

for (const person of [juliet, romeo]) await person.client.stop();
tell("end");
process.exit(0);
