// The page: it loads the program, draws its window, and connects it to the worker that trains.

import init, { Window, forgetPath, onPanic, putFile } from "./agoge_web.js";
import { ADAPTER_FILES, assignPaths, filesOfDrop } from "./dropped_files.js";
import { showMessage, showProgress, showStatus, showWelcome } from "./notifications.js";
import { withoutWebGpu } from "./webgpu_support.js";

/// Time between two checkpoints that the page requests, in milliseconds.
const SAVE_INTERVAL = 15000;
/// `pending`: functions that resolve numbered messages to the worker; `runs` and `settings`: folders of runs, and their settings.
const state = { worker: undefined, window: undefined, module: undefined, isOnlyPage: false, backlog: [], pending: new Map(), onFilesAdded: [], runs: [], settings: new Map(), number: 0 };
/// The run in progress, and what the browser holds for it.
const run = { isLive: false, step: 0, savedStep: 0, stepsPerMs: undefined, wakeLock: undefined, hiddenAt: undefined };

const listeners = new Set();
const zips = new Map();

start().catch((error) => {
    showProgress(undefined);
    showStatus(`This page cannot start: ${error.message ?? error}. Reload it; if that does not help, use another browser.`);
});

async function start() {
    watchPage();
    state.module = await load("agoge_web_bg.wasm");
    showStatus("starting");
    await init({ module_or_path: state.module });
    onPanic((text) => broken(`The page itself has failed: ${text}`));
    const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
    const info = adapter?.info;
    const isSoftware = !adapter || adapter.isFallbackAdapter || /swiftshader|llvmpipe/i.test(`${info?.vendor} ${info?.architecture} ${info?.description}`);
    state.isOnlyPage = await isOnlyPage();
    const recorded = adapter ? [] : await recordedRun();
    await openWorker(recorded);
    state.window = await Window.open(document.getElementById("window"), host, [...new Set(state.runs)], isSoftware);
    state.backlog.forEach((reply) => state.window.receive(reply));
    state.backlog = [];
    showWelcome(false);
    document.getElementById("window").focus();
    if (!adapter) showMessage("no-webgpu", withoutWebGpu(navigator.gpu !== undefined), { isFault: true });
    if (!state.isOnlyPage) showMessage("second", "agoge is open in another tab, which stores the runs; what is trained here is lost when this tab is closed.");
}

/// Fetches and compiles the program, and shows the progress.
async function load(name) {
    const response = await fetch(name);
    if (!response.ok) throw new Error(`${name} is missing on the server (${response.status})`);
    const total = Number(response.headers.get("x-size") ?? document.documentElement.dataset.size ?? 0);
    let received = 0;
    const counted = response.body.pipeThrough(new TransformStream({
        transform(chunk, controller) {
            received += chunk.byteLength;
            showProgress(total ? Math.min(1, received / total) : undefined);
            showStatus(`loading ${(received / 1e6).toFixed(1)}${total ? ` of ${(total / 1e6).toFixed(1)}` : ""} MB`);
            controller.enqueue(chunk);
        },
    }));
    return WebAssembly.compileStreaming(new Response(counted, { headers: { "content-type": "application/wasm" } }));
}

/// Whether this is the only page of agoge in this browser: two would write the same files.
function isOnlyPage() {
    if (!navigator.locks) return Promise.resolve(true);
    return new Promise((done) => {
        navigator.locks.request("agoge", { ifAvailable: true }, (lock) => {
            done(lock !== null);
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

function openWorker(recorded) {
    state.worker = new Worker("worker.js", { type: "module" });
    state.worker.onerror = (event) => broken(event.message || "the worker of this page could not be started");
    return new Promise((ready) => {
        state.worker.onmessage = ({ data }) => receive(data, ready);
        state.worker.postMessage({ module: state.module, isOnlyPage: state.isOnlyPage, recorded });
    });
}

function receive(message, ready) {
    if (message.status) showStatus(message.status);
    for (const change of message.changes ?? []) {
        if (change.text === undefined) {
            forgetPath(change.path);
        } else {
            putFile(change.path, new TextEncoder().encode(change.text));
            const settings = change.path.match(/^(runs\/[^/]+)\/config\.json$/);
            if (settings) state.settings.set(settings[1], change.text);
            const [, folder, name] = change.path.match(/^(runs\/[^/]+)\/([^/]+)$/) ?? [];
            if (name === "metrics.jsonl" || ADAPTER_FILES.includes(name)) state.runs.push(folder);
        }
    }
    for (const reply of message.replies ?? []) {
        followRun(reply);
        for (const listener of listeners) listener(JSON.parse(reply));
        if (state.window) state.window.receive(reply);
        else state.backlog.push(reply);
    }
    const zipped = message.zippedFolder;
    if (zips.has(zipped)) {
        zips.get(zipped)(message.bytes);
        zips.delete(zipped);
    } else if (zipped !== undefined) {
        download(`${zipped.split("/").pop()}.zip`, message.bytes, "application/zip");
    }
    if (message.filesAdded !== undefined) state.onFilesAdded.splice(0).forEach((done) => done());
    const answered = message.filesAdded ?? message.checked;
    if (answered !== undefined) {
        state.pending.get(answered)?.(message.errors);
        state.pending.delete(answered);
    }
    if (message.storageProblem) showMessage("storage", message.storageProblem);
    if (message.error && state.window) state.window.showMessage(message.error, true);
    else if (message.error) broken(message.error);
    if (message.panic) broken(message.panic);
    if (message.ready) ready();
}

/// Requests a checkpoint, if steps were taken since the last one.
function save() {
    if (!run.isLive || run.step <= run.savedStep) return;
    run.savedStep = run.step;
    host.send(JSON.stringify({ request: "tell", command: { command: "save" } }));
}

/// Follows what the page itself must know of the run: whether one is in progress, and its step.
function followRun(reply) {
    // A cheap test first: there are many replies a second.
    if (!/"(state|step|started)"/.test(reply)) return;
    const parsed = JSON.parse(reply);
    if (parsed.reply === "state") {
        const name = parsed.state.state;
        setLive(["preparing", "running", "paused"].includes(name));
        if (name === "failed" && /device/i.test(parsed.state.message)) offerReload(parsed.state.message);
        if (name === "preparing") run.step = run.savedStep = 0;
    } else if (parsed.reply === "event" && parsed.event.step) {
        run.step = parsed.event.step;
        if (parsed.event.event === "saved") run.savedStep = run.step;
    }
}

async function setLive(isLive) {
    if (run.isLive === isLive) return;
    run.isLive = isLive;
    document.title = isLive ? "training … agoge" : "agoge: fine-tune a language model in this browser";
    if (isLive) {
        // When the screen goes dark the processor may be suspended.
        run.wakeLock = await navigator.wakeLock?.request("screen").catch(() => undefined);
    } else {
        await run.wakeLock?.release().catch(() => undefined);
        run.wakeLock = undefined;
    }
}

/// The worker or the window has failed: shows why, and offers to reload and resume from the last checkpoint.
function broken(text) {
    setLive(false);
    offerReload(text);
}

function offerReload(text) {
    showWelcome(false);
    const more = state.isOnlyPage ? " Runs are stored up to their last checkpoint." : "";
    showMessage("broken", `${text.replace(/\.?$/, ".")}${more}`, {
        isFault: true,
        action: { text: "Reload and resume", run: () => location.reload() },
    });
}

/// Saves when the page is hidden or may be closed, and reports when the browser slows it down.
function watchPage() {
    addEventListener("beforeunload", (event) => {
        if (run.isLive) event.preventDefault();
    });
    document.addEventListener("visibilitychange", async () => {
        const now = performance.now();
        if (document.hidden) {
            save();
            run.hiddenAt = { now, step: run.step, stepsPerMs: run.stepsPerMs };
            return;
        }
        // The browser lets the screen go dark again with the tab that is hidden.
        if (run.isLive && run.wakeLock?.released !== false) run.wakeLock = await navigator.wakeLock?.request("screen").catch(() => undefined);
        const hidden = run.hiddenAt;
        if (!run.isLive || !hidden?.stepsPerMs || now - hidden.now < 5000) return;
        const stepsPerMs = (run.step - hidden.step) / (now - hidden.now);
        if (stepsPerMs < 0.5 * hidden.stepsPerMs) {
            showMessage("hidden", `While this tab was hidden the browser slowed the run down to ${Math.round((100 * stepsPerMs) / hidden.stepsPerMs)} % of its speed; keep the tab visible, in a window of its own if need be.`);
        }
    });
    // A page can be closed at any time.
    setInterval(save, SAVE_INTERVAL);
    let last = { now: performance.now(), step: 0 };
    setInterval(() => {
        const now = performance.now();
        if (!document.hidden && run.isLive && run.step > last.step) run.stepsPerMs = (run.step - last.step) / (now - last.now);
        last = { now, step: run.step };
    }, 3000);
}

/// Adds files to the worker's; resolves to their path when the worker has them.
function addFiles(added) {
    if (!added) return Promise.reject(new Error("nothing was chosen"));
    const number = ++state.number;
    return new Promise((done) => {
        state.pending.set(number, () => done(added.path));
        state.worker.postMessage({ addFiles: added.files, number });
    });
}

function download(name, content, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/// What the page does for the window.
const host = {
    send: (request) => state.worker.postMessage({ request }),
    choose: (what) => what === "clipboard" ? pasted() : new Promise((done, fail) => {
        const input = document.getElementById(what);
        input.value = "";
        input.onchange = () => addFiles(assignPaths([...input.files].map((file) => ({ name: file.webkitRelativePath || file.name, file })))).then(done, fail);
        input.oncancel = () => fail(new Error("nothing was chosen"));
        input.click();
    }),
    download: (name, content) => download(name, content, "application/octet-stream"),
    downloadFolder: (folder) => state.worker.postMessage({ zipFolder: folder }),
};

/// The text on the clipboard as a file, whose extension is guessed from the text.
async function pasted() {
    const text = await navigator.clipboard.readText();
    const [first, second] = text.split("\n");
    const commas = (line) => (line?.match(/,/g) ?? []).length;
    const isTable = commas(first) > 0 && commas(first) === commas(second);
    const kind = /^\s*[[{]/.test(text) ? "jsonl" : isTable ? "csv" : "txt";
    const name = `pasted-${++state.number}.${kind}`;
    return addFiles(assignPaths([{ name, file: new File([text], name) }]));
}

addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
    event.preventDefault();
    event.stopImmediatePropagation();
    try {
        const path = await addFiles(assignPaths(await filesOfDrop(event.dataTransfer)));
        state.window?.dropped(path);
    } catch (error) {
        state.window?.showMessage(String(error.message ?? error), true);
    }
}, true);
addEventListener("paste", async (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    const path = await addFiles(assignPaths(files.map((file) => ({ name: file.name, file }))));
    state.window?.dropped(path);
}, true);

/// For scripts: the protocol between window and workers, files, and tests of this browser.
globalThis.agoge = {
    send: (request) => host.send(JSON.stringify(request)),
    /// Calls `listener` with every reply of the workers.
    onReply: (listener) => listeners.add(listener),
    /// Adds files (`{ name, file }`) to those of the program; resolves to their path.
    addFiles: (files) => addFiles(assignPaths(files)),
    /// Lets a person choose a "folder", "files" or the "clipboard", as the window's buttons do; resolves to the path.
    choose: (what) => host.choose(what),
    /// Runs one of the checks `gather`, `products`, `forward`, `trajectory`; resolves to the errors by name, in units of their
    /// tolerances. The check `shaders` gives the number of shaders, and the errors of those that the browser refuses.
    check: (check, folder) => new Promise((done) => {
        const number = ++state.number;
        state.pending.set(number, done);
        state.worker.postMessage({ check, folder, number });
    }),
    /// Folders of the runs.
    runs: () => [...new Set(state.runs)],
    /// The settings of the run in a folder.
    settings: (folder) => JSON.parse(state.settings.get(folder)),
    /// Resolves when the next files of a person have been added.
    filesAdded: () => new Promise((done) => state.onFilesAdded.push(done)),
    /// A folder of a run as a zip file.
    zip: (folder) => new Promise((done) => {
        zips.set(folder, done);
        host.downloadFolder(folder);
    }),
};
