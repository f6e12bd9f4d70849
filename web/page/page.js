// The page: it loads the program, draws its window, and joins it to the worker in which the run is.

import init, { Window, forgetPath, onPanic, putFile } from "./agoge_web.js";
import { ADAPTERS, gather, fromTransfer } from "./gifts.js";
import { bar, doing, progress, welcome } from "./notes.js";
import { withoutWebGpu } from "./browsers.js";

/// Time between two checkpoints that the page asks for, in milliseconds.
const SAVE_EVERY = 15000;
/// Models, data and runs lie in these folders of the page.
const state = { worker: undefined, window: undefined, module: undefined, backlog: [], waiting: new Map(), onAdded: [], runs: [], settings: new Map(), number: 0 };
/// The run that is under way, and what the browser does for it.
const run = { isLive: false, step: 0, saved: 0, lock: undefined, hiddenAt: undefined };

const listeners = new Set();
const packs = new Map();

start().catch((error) => {
    progress(undefined);
    doing(`This page cannot start: ${error.message ?? error}. Reload it; if that does not help, use another browser.`);
});

async function start() {
    watchOver();
    state.module = await load("agoge_web_bg.wasm");
    doing("starting");
    await init({ module_or_path: state.module });
    onPanic((text) => broken(`The page itself has failed: ${text}`));
    const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
    const info = adapter?.info;
    const isSoftware = !adapter || adapter.isFallbackAdapter || /swiftshader|llvmpipe/i.test(`${info?.vendor} ${info?.architecture} ${info?.description}`);
    const keeps = await onlyPage();
    const recorded = adapter ? [] : await recordedRun();
    await openWorker(keeps, recorded);
    const watch = [...new Set(state.runs)];
    state.window = await Window.open(document.getElementById("window"), host, watch, isSoftware);
    state.backlog.forEach((reply) => state.window.hear(reply));
    state.backlog = [];
    welcome(false);
    document.getElementById("window").focus();
    if (!adapter) bar("no-webgpu", withoutWebGpu(navigator.gpu !== undefined), { fault: true });
    if (!keeps) bar("second", "agoge is open in another tab, which keeps the runs; what is trained here is gone when this tab is closed.", {});
}

/// Fetches and compiles the program, telling how far it is.
async function load(name) {
    const response = await fetch(name);
    if (!response.ok) throw new Error(`${name} is missing on the server (${response.status})`);
    const total = Number(response.headers.get("x-size") ?? document.documentElement.dataset.size ?? 0);
    let got = 0;
    const counted = response.body.pipeThrough(new TransformStream({
        transform(chunk, controller) {
            got += chunk.byteLength;
            progress(total ? Math.min(1, got / total) : undefined);
            doing(`loading ${(got / 1e6).toFixed(1)}${total ? ` of ${(total / 1e6).toFixed(1)}` : ""} MB`);
            controller.enqueue(chunk);
        },
    }));
    return WebAssembly.compileStreaming(new Response(counted, { headers: { "content-type": "application/wasm" } }));
}

/// Whether no other page of this kind is open in this browser: two would write the same files.
function onlyPage() {
    if (!navigator.locks) return Promise.resolve(true);
    return new Promise((tell) => {
        navigator.locks.request("agoge", { ifAvailable: true }, (lock) => {
            tell(lock !== null);
            return lock ? new Promise(() => {}) : undefined;
        });
    });
}

async function recordedRun() {
    const names = ["config.json", "adapter.json", "adapter.safetensors", "metrics.jsonl", "events.jsonl"];
    return Promise.all(names.map(async (name) => {
        const response = await fetch(`recorded/${name}`);
        return { path: `runs/recorded-demo/${name}`, bytes: await response.arrayBuffer() };
    }));
}

function openWorker(keeps, extra) {
    state.runs = [];
    state.worker = new Worker("worker.js", { type: "module" });
    state.worker.onerror = (event) => broken(event.message || "the worker of this page could not be started");
    return new Promise((ready) => {
        state.worker.onmessage = ({ data }) => hear(data, ready);
        state.worker.postMessage({ module: state.module, keeps, extra });
        state.keeps = keeps;
    });
}

function hear(message, ready) {
    if (message.doing) doing(message.doing);
    for (const change of message.changes ?? []) {
        if (change.text === undefined) {
            forgetPath(change.path);
        } else {
            putFile(change.path, new TextEncoder().encode(change.text));
            const settings = change.path.match(/^(runs\/[^/]+)\/config\.json$/);
            if (settings) state.settings.set(settings[1], change.text);
            const [, folder, name] = change.path.match(/^(runs\/[^/]+)\/([^/]+)$/) ?? [];
            if (name === "metrics.jsonl" || ADAPTERS.includes(name)) state.runs.push(folder);
        }
    }
    for (const reply of message.replies ?? []) {
        notice(reply);
        for (const listener of listeners) listener(JSON.parse(reply));
        if (state.window) state.window.hear(reply);
        else state.backlog.push(reply);
    }
    if (packs.has(message.packed)) {
        packs.get(message.packed)(message.bytes);
        packs.delete(message.packed);
    } else if (message.packed !== undefined) {
        download(`${message.packed.split("/").pop()}.zip`, message.bytes, "application/zip");
    }
    if (message.added !== undefined) state.onAdded.splice(0).forEach((done) => done());
    const asked = message.added ?? message.checked;
    if (asked !== undefined) {
        state.waiting.get(asked)?.(message.worst);
        state.waiting.delete(asked);
    }
    if (message.kept) bar("kept", message.kept, {});
    if (message.failed && state.window) state.window.say(message.failed, true);
    else if (message.failed) broken(message.failed);
    if (message.panic) broken(message.panic);
    if (message.ready) ready();
}

/// Has the run under way write a checkpoint, if it has come further since the last one.
function save() {
    if (!run.isLive || run.step <= run.saved) return;
    run.saved = run.step;
    host.ask(JSON.stringify({ request: "tell", command: { command: "save" } }));
}

/// What the page itself must know of a run: whether one is under way, and how far it is.
function notice(reply) {
    // Cheap before certain: there are many replies a second.
    if (!/"(state|step|started)"/.test(reply)) return;
    const said = JSON.parse(reply);
    if (said.reply === "state") {
        const name = said.state.state;
        setLive(["preparing", "running", "paused"].includes(name));
        if (name === "failed" && /device/i.test(said.state.message)) offerReload(said.state.message);
        if (name === "preparing") run.step = run.saved = 0;
    } else if (said.reply === "event" && said.event.step) {
        run.step = said.event.step;
        if (said.event.event === "saved") run.saved = run.step;
    }
}

async function setLive(isLive) {
    if (run.isLive === isLive) return;
    run.isLive = isLive;
    document.title = isLive ? "training … agoge" : "agoge: fine-tune a language model in this browser";
    if (isLive) {
        // A screen that goes dark takes the processor with it.
        run.lock = await navigator.wakeLock?.request("screen").catch(() => undefined);
    } else {
        await run.lock?.release().catch(() => undefined);
        run.lock = undefined;
    }
}

/// The worker or the window is gone: says what happened, and offers to go on from the last checkpoint.
function broken(text) {
    setLive(false);
    offerReload(text);
}

function offerReload(text) {
    welcome(false);
    const more = state.keeps ? " Runs are kept as of their last checkpoint." : "";
    bar("broken", `${text.replace(/\.?$/, ".")}${more}`, {
        fault: true,
        action: { text: "Reload and go on", run: () => location.reload() },
    });
}

function watchOver() {
    addEventListener("beforeunload", (event) => {
        if (run.isLive) event.preventDefault();
    });
    document.addEventListener("visibilitychange", async () => {
        const now = performance.now();
        if (document.hidden) {
            save();
            run.hiddenAt = { now, step: run.step, pace: run.pace };
            return;
        }
        // The browser lets the screen go dark again with the tab that is hidden.
        if (run.isLive && run.lock?.released !== false) run.lock = await navigator.wakeLock?.request("screen").catch(() => undefined);
        const away = run.hiddenAt;
        if (!run.isLive || !away || !away.pace || now - away.now < 5000) return;
        const pace = (run.step - away.step) / (now - away.now);
        if (pace < 0.5 * away.pace) {
            bar("hidden", `While this tab was hidden the browser let the run go on at ${Math.round((100 * pace) / away.pace)} % of its speed; keep the tab visible, in a window of its own if need be.`, {});
        }
    });
    // A page can be closed at any time.
    setInterval(save, SAVE_EVERY);
    let last = { now: performance.now(), step: 0 };
    setInterval(() => {
        const now = performance.now();
        if (!document.hidden && run.isLive && run.step > last.step) run.pace = (run.step - last.step) / (now - last.now);
        last = { now, step: run.step };
    }, 3000);
}

/// Gives files to the worker; resolves to the path under which they lie, when they do.
function give(gift) {
    if (!gift) return Promise.reject(new Error("nothing was chosen"));
    const number = ++state.number;
    return new Promise((done) => {
        state.waiting.set(number, () => done(gift.path));
        state.worker.postMessage({ add: gift.files, number });
    });
}

function download(name, content, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/// What the window asks of the page around it.
const host = {
    ask: (request) => state.worker.postMessage({ ask: request }),
    choose: (what) => what === "clipboard" ? pasted() : new Promise((done, refuse) => {
        const input = document.getElementById(what);
        input.value = "";
        input.onchange = () => give(gather([...input.files].map((file) => ({ name: file.webkitRelativePath || file.name, file })))).then(done, refuse);
        input.oncancel = () => refuse(new Error("nothing was chosen"));
        input.click();
    }),
    download: (name, content) => download(name, content, "application/octet-stream"),
    downloadFolder: (folder) => state.worker.postMessage({ pack: folder }),
};

/// The text on the clipboard as a file, named by what it looks like.
async function pasted() {
    const text = await navigator.clipboard.readText();
    const [first, second] = text.split("\n");
    const commas = (line) => (line?.match(/,/g) ?? []).length;
    const isTable = commas(first) > 0 && commas(first) === commas(second);
    const kind = /^\s*[[{]/.test(text) ? "jsonl" : isTable ? "csv" : "txt";
    const name = `pasted-${++state.number}.${kind}`;
    return give(gather([{ name, file: new File([text], name) }]));
}

addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
    event.preventDefault();
    event.stopImmediatePropagation();
    try {
        const path = await give(gather(await fromTransfer(event.dataTransfer)));
        state.window?.dropped(path);
    } catch (error) {
        state.window?.say(String(error.message ?? error), true);
    }
}, true);
addEventListener("paste", async (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    const path = await give(gather(files.map((file) => ({ name: file.name, file }))));
    state.window?.dropped(path);
}, true);

/// For scripts: the same protocol that the window speaks, files to work with, and whether this browser computes rightly.
globalThis.agoge = {
    ask: (request) => host.ask(JSON.stringify(request)),
    /// Called with every reply of the desk.
    hear: (listener) => listeners.add(listener),
    /// Lays files (`{ name, file }`) where the program looks for them; the path.
    give: (files) => give(gather(files)),
    /// Lets a person give what is asked for, as the window's buttons do: a "folder", "files" or the "clipboard"; the path.
    choose: (what) => host.choose(what),
    /// Runs one of the checks `gather`, `products`, `forward`, `trajectory`; the errors by name, in units of their tolerances. The
    /// check `shaders` gives how many there are, and what the browser objects to in those that it refuses.
    check: (check, folder) => new Promise((done) => {
        const number = ++state.number;
        state.waiting.set(number, done);
        state.worker.postMessage({ check, folder, number });
    }),
    /// Folders of the runs that the page has.
    runs: () => [...new Set(state.runs)],
    /// The settings of the run in a folder.
    settings: (folder) => JSON.parse(state.settings.get(folder)),
    /// Resolves when the next files that a person gives lie where the program looks for them.
    added: () => new Promise((done) => state.onAdded.push(done)),
    /// A folder of a run as a zip file.
    pack: (folder) => new Promise((done) => {
        packs.set(folder, done);
        host.downloadFolder(folder);
    }),
};
