// The worker of the page: the desk, the device and the files. The page's own thread only draws.
//
// From the page: { ask }, a request as JSON; { add: [{ path, file }] }, files that a person gave; { pack: folder };
//   { check, folder }, whether this browser computes what it should.
// To the page: { doing }, { ready }, { replies }, { changes }, { packed }, { kept }, { failed }.

import init, { Desk, addFile, checkForward, checkGather, checkProducts, checkTrajectory, onPanic, packFolder, putFile, shaderTexts, takeChanges } from "./agoge_web.js";
import { Vault } from "./vault.js";

let desk;
let vault;
let isPumping = false;
let isKeeping = false;
let keptAt = 0;

/// Time between two looks at what is to be kept, in milliseconds.
const KEEP_EVERY = 300;
/// Files of which the page itself wants to know what is in them: settings of runs.
const READ_BY_PAGE = /(^|\/)(config|adapter)\.json$/;

// A device that is lost may leave its last question unanswered for ever: the browser itself says when it is gone.
if (self.GPUAdapter) {
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...words) {
        const device = await request.apply(this, words);
        device.lost.then(({ message }) => post({ panic: `The graphics device was lost: ${message || "the browser does not say why"}` }));
        return device;
    };
}

// The program shows an adapter by its description, which most browsers keep to themselves; they do tell whose it is.
if (self.GPUAdapterInfo) {
    const described = Object.getOwnPropertyDescriptor(GPUAdapterInfo.prototype, "description");
    const told = ({ vendor, architecture, device }) => [vendor, architecture, device].filter(Boolean).join(" ");
    Object.defineProperty(GPUAdapterInfo.prototype, "description", { ...described, get() { return described.get.call(this) || told(this); } });
}

self.onmessage = ({ data }) => handle(data).catch((error) => post({ failed: sentence(error) }));

async function handle(message) {
    if (message.module) await open(message);
    if (message.ask) desk.ask(message.ask);
    if (message.add) {
        for (const { path, file } of message.add) addFile(path, file);
        await keep(true);
        post({ added: message.number });
    }
    if (message.check) {
        const checks = { gather: checkGather, products: checkProducts, forward: checkForward, trajectory: checkTrajectory, shaders: compileShaders };
        post({ checked: message.number, worst: JSON.parse(await checks[message.check](message.folder)) });
    }
    if (message.pack !== undefined) {
        const bytes = packFolder(message.pack);
        self.postMessage({ packed: message.pack, bytes }, [bytes.buffer]);
    }
}

async function open({ module, keeps, extra }) {
    await init({ module_or_path: module });
    onPanic((text) => post({ panic: text }));
    post({ doing: "looking for runs that this browser has kept" });
    const seen = [];
    const lay = async (path, file) => {
        putFile(path, file);
        seen.push(await told(path, file));
    };
    vault = await Vault.open(keeps);
    await vault.each(lay);
    for (const { path, bytes } of extra) await lay(path, new Blob([bytes]));
    post({ changes: seen });
    desk = new Desk(wake);
    post({ ready: true, keeps: vault.isThere });
}

/// The desk has something to say: it is heard when the desk has gone to sleep.
function wake() {
    if (isPumping) return;
    isPumping = true;
    queueMicrotask(() => {
        isPumping = false;
        const replies = [];
        for (let reply = desk.hear(); reply !== undefined; reply = desk.hear()) replies.push(reply);
        const isUrgent = replies.some((reply) => reply.includes('"saved"') || reply.includes('"finished"'));
        // What a run has written is there before it is told.
        keep(isUrgent).catch((error) => post({ failed: sentence(error) }));
        if (replies.length > 0) post({ replies });
    });
}

/// Carries what has changed to the browser's storage, in order, and tells the page of it.
async function keep(isUrgent) {
    if (isKeeping) return;
    const wait = keptAt + KEEP_EVERY - performance.now();
    isKeeping = true;
    try {
        if (!isUrgent && wait > 0) await new Promise((done) => setTimeout(done, wait));
        for (let changes = takeChanges(); changes.length > 0; changes = takeChanges()) {
            const seen = [];
            for (const { path, from, content } of changes) {
                if (path.startsWith("temporary/")) continue;
                seen.push(content === undefined ? { path } : await told(path, content, from));
                const problem = await vault.keep(path, from, content);
                if (problem) post({ kept: problem });
            }
            if (seen.length > 0) post({ changes: seen });
        }
        keptAt = performance.now();
    } finally {
        isKeeping = false;
    }
}

/// A file as the page is told of it: its name, and its text where the page needs that.
async function told(path, content, from = 0) {
    if (!READ_BY_PAGE.test(path) || from > 0) return { path, text: "" };
    return { path, text: content instanceof Blob ? await content.text() : new TextDecoder().decode(content) };
}

function post(message) {
    self.postMessage(message);
}

function sentence(error) {
    return String(error?.message ?? error);
}

/// What the browser has to object to in each shader, as JSON: only those that it refuses.
async function compileShaders() {
    const device = await (await navigator.gpu.requestAdapter()).requestDevice();
    const refused = {};
    let count = 0;
    for (const [name, code] of Object.entries(JSON.parse(shaderTexts()))) {
        count++;
        const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
        const errors = messages.filter((message) => message.type === "error");
        if (errors.length > 0) refused[name] = errors[0].message;
    }
    device.destroy();
    return JSON.stringify({ count, refused });
}
