// The page of index.html: what its two forms do, and what it shows of the conversations of a user.

import { Client, DeviceKind, LocalStorageState, otherMember, register } from "../typescript/build/src/web.js";

const login = document.querySelector("#login");
const write = document.querySelector("#write");
const status = document.querySelector("#status");
const messages = document.querySelector("#messages");
const decoder = new TextDecoder();

/** Lines that were sent and not acknowledged, by the id of their message. */
const waiting = new Map();

function show(from, text, isMine) {
  const line = document.createElement("li");
  line.textContent = `${from}: ${text}`;
  line.classList.toggle("mine", isMine);
  messages.append(line);
  return line;
}

login.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { url, user, password, register: isNew } = login.elements;
  login.hidden = true;
  try {
    const account = { username: user.value, password: password.value };
    const endpoint = { url: url.value };
    if (isNew.checked) await register(endpoint, account);
    await begin(endpoint, account);
  } catch (error) {
    status.textContent = error.message;
    login.hidden = false;
  }
});

async function begin(endpoint, account) {
  const client = await Client.open({
    endpoint,
    state: new LocalStorageState(localStorage, `dunlin ${account.username}`),
    device: { kind: DeviceKind.WEB, name: "a browser" },
    credentials: { password: async (refused) => (refused === undefined ? account : undefined) },
    // A server that comes back is looked for soon; a real page would leave this to the default.
    backoffBaseMs: 200,
  });
  client.events
    .on("online", () => (status.textContent = `online as ${account.username}`))
    .on("offline", (end) => (status.textContent = `offline: ${end.message}`))
    .on("stopped", (why, error) => (status.textContent = `stopped: ${why} ${error?.message ?? ""}`))
    .on("sent", (id) => waiting.get(id)?.classList.remove("waits"))
    .on("failed", (id, _, error) => waiting.get(id)?.append(` (${error.message})`))
    .on("entry", (conversation, entry) => entered(client, conversation, entry));
  write.addEventListener("submit", (event) => {
    event.preventDefault();
    const { to, text } = write.elements;
    const wanted = text.value;
    text.value = "";
    send(client, to.value, wanted).catch((error) => (status.textContent = error.message));
  });
  client.start();
  write.hidden = false;
}

async function send(client, username, text) {
  const [user] = await client.findUsers({ usernames: [username] });
  if (user === undefined) throw new Error(`there is no ${username}`);
  // The line is there before the message is on its way; the id says which it is.
  const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const line = show(client.username, text, true);
  line.classList.add("waits");
  waiting.set(id, line);
  await client.send(client.conversationWith(user.userId), text, { id });
}

async function entered(client, conversation, { sender, message, seq }) {
  if (message === undefined) return;
  // What this page has sent is shown already.
  if (waiting.has(message.id)) return;
  const isMine = sender === client.userId;
  const line = show("", decoder.decode(message.content), isMine);
  client.markRead(conversation, seq);
  const from = await client.nameOf(isMine ? client.userId : (otherMember(conversation, client.userId) ?? sender));
  line.textContent = `${from}${line.textContent}`;
}
