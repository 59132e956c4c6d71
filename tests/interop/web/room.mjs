// Converse.js in rooms, in headless Chromium, as it is told: a line of JSON in for each thing to do, and one out with what
// came of it. Arguments: WebSocket's address, the domain, the server's IP address, JID and password.

import { createInterface } from "node:readline";
import { CONVERSE, converse, launch } from "./chromium.mjs";

const [websocket_url, domain, address, jid, password] = process.argv.slice(2);
const { open, close } = await launch(domain, address);
let page;
const refused = []; // stanzas of type error

const area = () => page.locator("converse-muc-message-form textarea.chat-textarea:visible");

const commands = {
  // A browser that knows nothing of an earlier one.
  async login() {
    await page?.context().close();
    page = await open();
    page.on("websocket", (socket) => {
      socket.on("framereceived", ({ payload }) => /^<\w+[^>]* type=["']error["']/.test(payload) && refused.push(String(payload)));
    });
    await page.evaluate(converse, { ...CONVERSE, websocket_url, jid, password, nickname: "converse" });
    await page.waitForFunction(() => window.service);
  },
  async join({ room, nick }) {
    await page.evaluate(([room, nick]) => window.api.rooms.open(room, { nick }, true).then(() => null), [room, nick]);
    await area().waitFor();
  },
  // A message, or a command such as /nick.
  async type({ text }) {
    await area().fill(text);
    await area().press("Enter");
  },
  // What its window shows of the room: lines with who said them, in order; who is there; its subject.
  async shown({ room }) {
    return page.evaluate((jid) => {
      const room = document.querySelector(`converse-muc[jid="${jid}"]`);
      if (!room) return null;
      const texts = (what) => [...room.querySelectorAll(what)].map((element) => element.textContent.trim());
      const nick = (line) => line.dataset.from.slice(line.dataset.from.indexOf("/") + 1);
      return {
        lines: [...room.querySelectorAll("converse-muc-chat-content .chat-msg")].map((line) => [
          nick(line),
          line.querySelector(".chat-msg__text")?.textContent.trim() ?? "",
        ]),
        occupants: texts(".occupant-nick").sort(),
        subject: texts(".chat-head__desc").join(""),
        notes: texts(".chat-info"),
      };
    }, room);
  },
  // It asks before it follows an invitation.
  async accept() {
    const dialog = page.locator("converse-confirm-modal form.confirm");
    await dialog.waitFor();
    const text = await dialog.innerText();
    await dialog.locator("button[type=submit]").click();
    await area().waitFor();
    return text;
  },
  async refused() {
    return refused;
  },
  async screen({ path }) {
    await page?.screenshot({ path });
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...values } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ reply: (await commands[name](values)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
await close();
process.exit(0);
